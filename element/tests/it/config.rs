//! Starting with a wrong configuration: exit code 2, and a message that names the variable.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::Setup;
use crate::harness::certificates::{Authority, wrap};

#[tokio::test]
async fn wrong_variables_stop_the_start_by_name() {
    for (variable, value) in [
        ("SERVER_PORT", "http"),
        ("SERVER_HOST", "everywhere"),
        ("APP_MODE", "readonly"),
        ("APP_MODE", ""),
        ("STORAGE_TYPE", "s3"),
        ("STORAGE_TYPE", "tape"),
        ("STORAGE_MAX_SIZE", "lots"),
        ("STORAGE_PRIORITY", "first"),
        ("STORAGE_ELEMENT_ID", "a/b"),
        ("STORAGE_EXTERNAL_ENDPOINT", "storage"),
        ("UPLOAD_MAX_FILE_SIZE", "1.5Gi"),
        ("DB_TABLE_PREFIX", "x; drop table y"),
        ("DB_PORT", "5432"),
        ("DB_HOST", ""),
        ("DB_HOST", "db"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("REDIS_TLS", "true"),
        ("REDIS_TLS", "maybe"),
        ("REDIS_SSL_CA_CERT", "/nowhere/ca.pem"),
        ("REDIS_CLUSTER", "true"),
        ("JWT_LEEWAY", "5 s"),
        ("JWT_PUBLIC_KEY_PATH", "/nowhere/key.pem"),
        ("ADMIN_TOKEN_FILE", "/nowhere/token"),
        ("HEALTH_REPORT_INTERVAL", "2h"),
        ("STORAGE_GC_INTERVAL", "often"),
        ("STORAGE_SCRUB_INTERVAL", "0"),
        ("STORAGE_SCRUB_RATE", "slow"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("JWT_JWKS_URL", "https://issuer/keys"),
        ("JWT_JWKS_CA_CERT", "/nowhere/ca.pem"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("SERVER_TLS_CERT_PATH", "/nowhere/tls.crt"),
        ("SERVER_TLS_KEY_PATH", "/nowhere/tls.key"),
        ("SERVER_HEADER_TIMEOUT", "0"),
        ("SERVER_BODY_TIMEOUT", "soon"),
        ("SERVER_MAX_CONNECTIONS", "none"),
        ("STORAGE_S3_BUCKET_NAME", "bucket"),
        ("STORAGE_MAX_SZIE", "10Gi"),
        ("DB_HOSTNAME", "db"),
        ("APP_MOD", "ro"),
    ] {
        let mut setup = Setup::embedded();
        setup.set(variable, value);
        let (code, stdout, stderr) = setup.run(&["serve"]).await;
        assert_eq!(code, 2, "{variable}={value}: {stderr}");
        assert!(stderr.contains(variable), "{variable}={value}: {stderr}");
        assert_eq!(stdout, "");
        assert!(!setup.root().exists(), "{variable}={value} left something behind");
    }
}

#[tokio::test]
async fn password_in_an_address_stops_the_start_without_being_shown() {
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://al:s3cret@collector:4318"),
        ("STORAGE_EXTERNAL_ENDPOINT", "http://al:s3cret@storage-01:8010"),
        ("JWT_JWKS_URL", "https://al:s3cret@issuer/keys"),
    ] {
        let mut setup = Setup::embedded();
        if variable == "JWT_JWKS_URL" {
            setup.unset("JWT_PUBLIC_KEY_PATH");
        }
        setup.set(variable, value);
        let (code, _, stderr) = setup.run(&["serve"]).await;
        assert_eq!(code, 2, "{variable}: {stderr}");
        assert!(stderr.contains(variable) && stderr.contains("://***@"), "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
}

#[tokio::test]
async fn authority_of_the_database_that_would_not_be_asked_stops_the_start() {
    let mut setup = Setup::embedded();
    let authority = Authority::new();
    let ca = setup.file("db-ca.pem", &authority.pem());
    for (name, value) in [
        ("DB_HOST", "db"),
        ("DB_USERNAME", "u"),
        ("DB_PASSWORD", "p"),
        ("DB_SSL_MODE", "prefer"),
        ("DB_SSL_CA_CERT", ca.to_str().unwrap()),
    ] {
        setup.set(name, value);
    }
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("DB_SSL_CA_CERT contradicts DB_SSL_MODE"), "{stderr}");
    setup.set("DB_SSL_MODE", "verify-full");
    setup.file("db-ca.pem", "no certificate");
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert!(code == 2 && stderr.contains("DB_SSL_CA_CERT is not usable"), "{stderr}");
}

/// Says yes to clients of PostgreSQL that ask for TLS, and passes on what follows to where it is spoken; for the rest of the test.
async fn offering_tls(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 8];
                if near.read_exact(&mut request).await.is_ok() && near.write_all(b"S").await.is_ok() {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn database_is_used_only_when_the_named_authority_vouches_for_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut setup = Setup::postgres().await;
    let server = format!("{}:{}", setup.get("DB_HOST"), setup.get("DB_PORT"));
    let server: SocketAddr = server.parse().unwrap();
    let own = offering_tls(wrap(server, &authority.certify(&["127.0.0.1"])).await).await;
    let misnamed = offering_tls(wrap(server, &authority.certify(&["db.example.org"])).await).await;
    setup.set("DB_HOST", "127.0.0.1");
    for (address, trusted, mode, good) in [
        (own, &authority, None, true),
        (own, &other, None, false),
        (own, &other, Some("require"), false),
        (misnamed, &authority, None, false),
        (misnamed, &authority, Some("require"), true),
    ] {
        println!("{address} {mode:?} {good}");
        setup.set("DB_PORT", &address.port().to_string());
        let ca = setup.file("db-ca.pem", &trusted.pem());
        setup.set("DB_SSL_CA_CERT", ca.to_str().unwrap());
        match mode {
            Some(mode) => setup.set("DB_SSL_MODE", mode),
            None => setup.unset("DB_SSL_MODE"),
        }
        let element = setup.start_unready(&["serve"]).await;
        if good {
            element.wait_ready().await;
        } else {
            let said = element.stderr.wait_for("cannot start yet").await;
            assert!(said.contains("certificate"), "{said}");
        }
        element.stop().await;
    }
}

#[tokio::test]
async fn password_of_the_database_may_stand_in_a_file() {
    let mut setup = Setup::postgres().await;
    let password = setup.get("DB_PASSWORD").to_owned();
    setup.unset("DB_PASSWORD");
    let file = setup.file("db-password", &format!("{password}\n"));
    setup.set("DB_PASSWORD_FILE", file.to_str().unwrap());
    let element = setup.start().await;
    element.client.store("a.txt", b"abc").await;
    element.stop().await;
}

#[tokio::test]
async fn start_without_a_key_is_refused() {
    let mut setup = Setup::embedded();
    setup.unset("JWT_PUBLIC_KEY_PATH");
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("JWT_PUBLIC_KEY_PATH is missing"), "{stderr}");
}

#[tokio::test]
async fn private_key_where_the_public_one_belongs_is_refused() {
    let mut setup = Setup::embedded();
    let path = setup.file("private.pem", &crate::harness::keys::KEYS.private_pem);
    setup.set("JWT_PUBLIC_KEY_PATH", path.to_str().unwrap());
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("JWT_PUBLIC_KEY_PATH") && stderr.contains("PRIVATE KEY"),
        "{stderr}"
    );
}

#[tokio::test]
async fn unusable_mode_file_or_folder_stops_a_first_start() {
    let mut setup = Setup::embedded();
    setup.set("APP_MODE_FILE", "/nowhere/mode.json");
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert!(code != 0 && stderr.contains("APP_MODE_FILE"), "{stderr}");

    let mut setup = Setup::embedded();
    let file = setup.file("a-file", "");
    setup.set("STORAGE_LOCAL_BASE_PATH", file.join("storage").to_str().unwrap());
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert!(code != 0 && stderr.contains("STORAGE_LOCAL_BASE_PATH"), "{stderr}");
}

#[tokio::test]
async fn taken_port_stops_the_start_by_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = Setup::embedded();
    setup.set("SERVER_PORT", &listener.local_addr().unwrap().port().to_string());
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert!(code == 1 && stderr.contains("SERVER_PORT"), "{stderr}");
}

#[tokio::test]
async fn flags_do_what_their_variables_do_and_help_shows_both() {
    let mut setup = Setup::embedded();
    setup.set("SERVER_PORT", "not a port");
    let element = setup
        .start_unready(&["serve", "--server-port", "0", "--storage-element-id", "flagged"])
        .await;
    element.wait_ready().await;
    assert_eq!(element.client.json("/info").await["element_id"], "flagged");

    let (code, help, _) = setup.run(&["serve", "--help"]).await;
    assert_eq!(code, 0);
    // Lines are wrapped anywhere.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for variable in [
        "APP_MODE",
        "APP_MODE_FILE",
        "SERVER_HOST",
        "SERVER_PORT",
        "SERVER_TLS_CERT_PATH",
        "SERVER_TLS_KEY_PATH",
        "SERVER_FIRST_BYTE_TIMEOUT",
        "SERVER_HEADER_TIMEOUT",
        "SERVER_BODY_TIMEOUT",
        "SERVER_UNREAD_TIMEOUT",
        "SERVER_MAX_CONNECTIONS",
        "ADMIN_TOKEN_FILE",
        "DB_HOST",
        "DB_PORT",
        "DB_USERNAME",
        "DB_PASSWORD",
        "DB_PASSWORD_FILE",
        "DB_DATABASE",
        "DB_TABLE_PREFIX",
        "DB_POOL_SIZE",
        "DB_SSL_MODE",
        "DB_SSL_CA_CERT",
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_PASSWORD",
        "REDIS_PASSWORD_FILE",
        "REDIS_CLUSTER",
        "REDIS_TLS",
        "REDIS_SSL_CA_CERT",
        "STORAGE_TYPE",
        "STORAGE_LOCAL_BASE_PATH",
        "STORAGE_SHARED",
        "STORAGE_S3_ENDPOINT_URL",
        "STORAGE_S3_BUCKET_NAME",
        "STORAGE_S3_REGION",
        "STORAGE_S3_APP_FOLDER",
        "STORAGE_S3_ACCESS_KEY_ID",
        "STORAGE_S3_SECRET_ACCESS_KEY",
        "STORAGE_MAX_SIZE",
        "STORAGE_ELEMENT_ID",
        "STORAGE_PRIORITY",
        "STORAGE_EXTERNAL_ENDPOINT",
        "UPLOAD_MAX_FILE_SIZE",
        "JWT_PUBLIC_KEY_PATH",
        "JWT_JWKS_URL",
        "JWT_JWKS_CA_CERT",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
        "JWT_LEEWAY",
        "HEALTH_REPORT_INTERVAL",
        "STORAGE_GC_INTERVAL",
        "STORAGE_SCRUB_INTERVAL",
        "STORAGE_SCRUB_RATE",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ] {
        assert!(help.contains(&format!("[env: {variable}")), "{variable} in\n{help}");
        assert!(
            help.contains(&format!("--{}", variable.to_lowercase().replace('_', "-"))),
            "{variable} in\n{help}"
        );
    }
}

#[tokio::test]
async fn variables_of_kubernetes_services_do_no_harm() {
    let mut setup = Setup::embedded();
    for (name, value) in [
        ("REDIS_SERVICE_HOST", "10.0.0.1"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("STORAGE_01_SERVICE_HOST", "10.0.0.2"),
        ("STORAGE_01_SERVICE_PORT", "8010"),
        ("STORAGE_01_PORT", "tcp://10.0.0.2:8010"),
        ("STORAGE_01_PORT_8010_TCP_ADDR", "10.0.0.2"),
    ] {
        setup.set(name, value);
    }
    setup.start().await.stop().await;
}
