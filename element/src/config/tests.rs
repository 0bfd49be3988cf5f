//! The configuration as users write it: defaults, and every kind of error by its variable.

mod addresses;
mod database;
mod parts;

use std::ffi::OsString;

use clap::Parser;
use element_api::Mode;

use super::environment::Environment;
use super::{Config, DatabaseConfig, LogConfig, LogFormat};
use crate::auth::keys::Keys;
use crate::cli::{Cli, Command, ServeArgs};

fn serve_args(flags: &[&str]) -> ServeArgs {
    let words = ["artstore-element", "serve"].iter().chain(flags);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Serve(args) => *args,
        _ => panic!("serve was asked for"),
    }
}

fn read(flags: &[&str]) -> Result<Config, String> {
    let none: [(OsString, OsString); 0] = [];
    Config::read(serve_args(flags), &Environment::new(none)).map_err(|error| error.to_string())
}

fn temporary_file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

#[test]
fn dev_needs_nothing_and_stays_on_this_machine() {
    let config = read(&["--dev"]).unwrap();
    assert_eq!(config.listen, ([127, 0, 0, 1].into(), 8010));
    assert_eq!(config.mode, Mode::Edit);
    assert_eq!(config.element.id, "01");
    assert!(config.element.root.ends_with(".data/storage"));
    assert_eq!(config.storage.max_file_size, 1 << 30);
    assert_eq!(config.storage.priority, 100);
    assert!(matches!(config.database, DatabaseConfig::Embedded { .. }));
    assert!(config.redis.is_none() && config.keys.is_none() && config.admin_token.is_none());
}

#[test]
fn start_without_a_key_is_refused() {
    assert!(read(&[]).err().unwrap().starts_with("JWT_PUBLIC_KEY_PATH is missing"));
}

#[test]
fn bad_values_name_their_variable() {
    for (flag, value, variable) in [
        ("--server-port", "http", "SERVER_PORT"),
        ("--server-port", "65536", "SERVER_PORT"),
        ("--server-host", "localhost:80", "SERVER_HOST"),
        ("--server-tls-cert-path", "/nowhere/tls.crt", "SERVER_TLS_CERT_PATH"),
        ("--server-tls-key-path", "/nowhere/tls.key", "SERVER_TLS_KEY_PATH"),
        ("--server-header-timeout", "0s", "SERVER_HEADER_TIMEOUT"),
        ("--server-first-byte-timeout", "2h", "SERVER_FIRST_BYTE_TIMEOUT"),
        ("--server-body-timeout", "long", "SERVER_BODY_TIMEOUT"),
        ("--server-unread-timeout", "-1s", "SERVER_UNREAD_TIMEOUT"),
        ("--server-max-connections", "0", "SERVER_MAX_CONNECTIONS"),
        ("--app-mode", "readonly", "APP_MODE"),
        ("--app-mode", "", "APP_MODE"),
        ("--storage-type", "nfs", "STORAGE_TYPE"),
        ("--storage-max-size", "lots", "STORAGE_MAX_SIZE"),
        ("--upload-max-file-size", "-1", "UPLOAD_MAX_FILE_SIZE"),
        ("--storage-priority", "high", "STORAGE_PRIORITY"),
        ("--storage-element-id", "a b", "STORAGE_ELEMENT_ID"),
        ("--storage-element-id", "../x", "STORAGE_ELEMENT_ID"),
        (
            "--storage-external-endpoint",
            "storage-01:8010",
            "STORAGE_EXTERNAL_ENDPOINT",
        ),
        ("--db-table-prefix", "Drop; table", "DB_TABLE_PREFIX"),
        ("--jwt-leeway", "soon", "JWT_LEEWAY"),
        ("--jwt-leeway", "1h", "JWT_LEEWAY"),
        ("--health-report-interval", "0", "HEALTH_REPORT_INTERVAL"),
        ("--health-report-interval", "120", "HEALTH_REPORT_INTERVAL"),
        ("--redis-cluster", "true", "REDIS_CLUSTER"),
        ("--redis-tls", "maybe", "REDIS_TLS"),
        ("--redis-tls", "true", "REDIS_TLS"),
        ("--redis-ssl-ca-cert", "/nowhere/ca.pem", "REDIS_SSL_CA_CERT"),
        ("--jwt-jwks-url", "https://issuer/keys", "JWT_JWKS_URL"),
        (
            "--otel-exporter-otlp-endpoint",
            "collector:4318",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        ("--admin-token-file", "/nowhere/token", "ADMIN_TOKEN_FILE"),
        ("--redis-port", "6379", "REDIS_PORT"),
        ("--db-port", "5432", "DB_PORT"),
        ("--db-password", "x", "DB_PASSWORD"),
    ] {
        let message = read(&["--dev", &format!("{flag}={value}")]).err().unwrap();
        assert!(message.contains(variable), "{flag} {value}: {message}");
    }
}

#[test]
fn contradictions_name_their_variables() {
    let password = temporary_file("secret\n");
    let path = password.path().to_str().unwrap();
    let postgres = ["--dev", "--db-host", "db", "--db-username", "u", "--db-password", "p"];
    assert!(read(&postgres).err().unwrap().starts_with("DB_HOST contradicts --dev"));
    let both = [
        "--db-host",
        "db",
        "--db-username",
        "u",
        "--db-password",
        "p",
        "--db-password-file",
        path,
    ];
    assert!(
        read(&both)
            .err()
            .unwrap()
            .starts_with("DB_PASSWORD contradicts DB_PASSWORD_FILE")
    );
    assert!(
        read(&["--db-host", "db", "--db-username", "u"])
            .err()
            .unwrap()
            .starts_with("DB_PASSWORD is missing")
    );
    assert!(
        read(&["--db-host", "db", "--db-password", "u"])
            .err()
            .unwrap()
            .starts_with("DB_USERNAME is missing")
    );
}

#[test]
fn keys_come_from_a_file_or_an_issuer() {
    let issuer = |url: &str| read(&["--jwt-jwks-url", url]);
    assert!(matches!(
        issuer("http://127.0.0.1:1/jwks.json").unwrap().keys,
        Some(Keys::Issuer(_))
    ));
    let ca = temporary_file(
        &rcgen::generate_simple_self_signed(["issuer".to_owned()])
            .unwrap()
            .cert
            .pem(),
    );
    let path = ca.path().to_str().unwrap();
    let config = read(&[
        "--jwt-jwks-url",
        "https://issuer.example.org/keys?tenant=1",
        "--jwt-jwks-ca-cert",
        path,
    ]);
    assert!(matches!(config.unwrap().keys, Some(Keys::Issuer(_))));
    for url in [
        "issuer.example.org/keys",
        "ftp://issuer/keys",
        "https://",
        "https://u:p@issuer/keys",
        "file:///keys",
    ] {
        let message = issuer(url).err().unwrap();
        assert!(message.starts_with("JWT_JWKS_URL has a bad value"), "{message}");
    }
    for (flags, start) in [
        (
            [
                "--jwt-jwks-url",
                "https://issuer/keys",
                "--jwt-public-key-path",
                "/key.pem",
            ],
            "JWT_PUBLIC_KEY_PATH contradicts JWT_JWKS_URL",
        ),
        (
            ["--jwt-jwks-ca-cert", "/ca.pem", "--jwt-public-key-path", "/key.pem"],
            "JWT_JWKS_CA_CERT contradicts JWT_JWKS_URL",
        ),
        (
            ["--jwt-jwks-ca-cert", "/ca.pem", "--jwt-jwks-url", "http://issuer/keys"],
            "JWT_JWKS_CA_CERT contradicts JWT_JWKS_URL",
        ),
        (
            [
                "--jwt-jwks-ca-cert",
                "/nowhere/ca.pem",
                "--jwt-jwks-url",
                "https://issuer/keys",
            ],
            "failed to read \"/nowhere/ca.pem\", which JWT_JWKS_CA_CERT names",
        ),
    ] {
        let message = read(&flags).err().unwrap();
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn certificates_must_be_some_and_usable() {
    let good = rcgen::generate_simple_self_signed(["redis".to_owned()])
        .unwrap()
        .cert
        .pem();
    let key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, usable) in [
        (good.as_str(), true),
        (&format!("{good}{good}{key}"), true),
        ("", false),
        ("no PEM", false),
        (key, false),
        (broken, false),
        (&format!("{good}{broken}"), false),
    ] {
        let file = temporary_file(content);
        let path = file.path().to_str().unwrap();
        let flags = [
            "--dev",
            "--redis-host",
            "redis",
            "--redis-tls",
            "true",
            "--redis-ssl-ca-cert",
            path,
        ];
        match read(&flags) {
            Ok(config) => assert!(
                usable && config.redis.unwrap().tls.unwrap().ca_cert.is_some(),
                "{content}"
            ),
            Err(message) => assert!(!usable && message.contains("REDIS_SSL_CA_CERT"), "{message}"),
        }
    }
    let file = temporary_file(&good);
    let flags = [
        "--dev",
        "--redis-host",
        "redis",
        "--redis-ssl-ca-cert",
        file.path().to_str().unwrap(),
    ];
    assert!(
        read(&flags)
            .err()
            .unwrap()
            .starts_with("REDIS_SSL_CA_CERT contradicts REDIS_TLS")
    );
}

#[test]
fn redis_is_alone_and_open_unless_told_otherwise() {
    let redis = |flags: &[&str]| {
        let flags = ["--dev", "--redis-host", "redis"]
            .iter()
            .chain(flags)
            .copied()
            .collect::<Vec<_>>();
        read(&flags).unwrap().redis.unwrap()
    };
    let plain = redis(&["--redis-tls", "false", "--redis-cluster", "off"]);
    assert!(!plain.cluster && plain.tls.is_none());
    let both = redis(&["--redis-tls", "true", "--redis-cluster", "on"]);
    assert!(both.cluster && both.tls.unwrap().ca_cert.is_none());
    assert!(read(&["--dev", "--redis-tls", "false", "--redis-cluster", "false"]).is_ok());
}

#[test]
fn port_that_a_service_link_set_keeps_its_default() {
    let args = serve_args(&["--dev", "--redis-host", "redis", "--redis-port", "tcp://10.0.0.1:6379"]);
    let environment = Environment::new([
        ("REDIS_SERVICE_HOST".into(), "10.0.0.1".into()),
        ("REDIS_PORT".into(), "tcp://10.0.0.1:6379".into()),
    ]);
    assert_eq!(Config::read(args, &environment).unwrap().redis.unwrap().port, 6379);

    let args = serve_args(&["--dev", "--redis-host", "redis", "--redis-port", "tcp://10.0.0.1:6379"]);
    let alone = Environment::new([("REDIS_PORT".into(), "tcp://10.0.0.1:6379".into())]);
    assert!(
        Config::read(args, &alone)
            .err()
            .unwrap()
            .to_string()
            .contains("REDIS_PORT")
    );
}

#[test]
fn short_admin_token_is_refused_without_being_shown() {
    let file = temporary_file("short-token\n");
    let message = read(&["--dev", "--admin-token-file", file.path().to_str().unwrap()])
        .err()
        .unwrap();
    assert!(
        message.contains("ADMIN_TOKEN_FILE") && message.contains("32"),
        "{message}"
    );
    assert!(!message.contains("short-token"), "{message}");
}

#[test]
fn private_key_in_place_of_the_public_one_is_refused() {
    let file = temporary_file("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let message = read(&["--jwt-public-key-path", file.path().to_str().unwrap()])
        .err()
        .unwrap();
    assert!(
        message.contains("JWT_PUBLIC_KEY_PATH") && message.contains("PRIVATE KEY"),
        "{message}"
    );
}

#[test]
fn tls_takes_a_certificate_and_its_own_key() {
    let pair = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (own, other) = (pair(), pair());
    let certificate = temporary_file(&own.cert.pem());
    let (key, strange) = (own.signing_key.serialize_pem(), other.signing_key.serialize_pem());
    let (key, strange, garbage) = (
        temporary_file(&key),
        temporary_file(&strange),
        temporary_file("garbage"),
    );
    let read_tls = |certificate: Option<&tempfile::NamedTempFile>, key: Option<&tempfile::NamedTempFile>| {
        let flag = |name: &str, file: &tempfile::NamedTempFile| format!("{name}={}", file.path().to_str().unwrap());
        let flags: Vec<String> = [
            Some("--dev".to_owned()),
            certificate.map(|file| flag("--server-tls-cert-path", file)),
            key.map(|file| flag("--server-tls-key-path", file)),
        ]
        .into_iter()
        .flatten()
        .collect();
        read(&flags.iter().map(String::as_str).collect::<Vec<_>>()).map(|config| config.connections.tls.is_some())
    };
    assert_eq!(read_tls(None, None), Ok(false));
    assert_eq!(read_tls(Some(&certificate), Some(&key)), Ok(true));
    for (certificate, key, message) in [
        (Some(&certificate), None, "SERVER_TLS_KEY_PATH is missing"),
        (None, Some(&key), "SERVER_TLS_CERT_PATH is missing"),
        (Some(&certificate), Some(&strange), "SERVER_TLS_KEY_PATH is not usable"),
        (Some(&certificate), Some(&garbage), "SERVER_TLS_KEY_PATH is not usable"),
        (Some(&garbage), Some(&key), "SERVER_TLS_CERT_PATH is not usable"),
    ] {
        let said = read_tls(certificate, key).unwrap_err();
        assert!(said.starts_with(message) && !said.contains("PRIVATE KEY"), "{said}");
    }
}

#[test]
fn logs_are_set_by_level_and_format() {
    let args = serve_args(&["--dev", "--log-level", "DEBUG", "--log-format", "text"]).logs;
    let logs = LogConfig::read(args, LogFormat::Json).unwrap();
    assert_eq!((logs.level, logs.format), (tracing::Level::DEBUG, LogFormat::Text));
    for flags in [["--log-level", "verbose"], ["--log-format", "xml"]] {
        let args = serve_args(&["--dev", flags[0], flags[1]]).logs;
        let message = LogConfig::read(args, LogFormat::Json).unwrap_err().to_string();
        assert!(message.starts_with("LOG_"), "{message}");
    }
}
