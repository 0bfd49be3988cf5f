//! The database's settings: names that follow the element's id, and how the connection is protected.

use std::ffi::OsString;
use std::path::PathBuf;

use super::super::DatabaseConfig;
use super::super::environment::Environment;
use super::{serve_args, temporary_file};

const SERVER: [&str; 6] = ["--db-host", "db", "--db-username", "u", "--db-password", "p"];

/// A server's settings with more flags.
fn read(flags: &[&str], element_id: &str) -> Result<DatabaseConfig, String> {
    let flags: Vec<&str> = SERVER.iter().chain(flags).copied().collect();
    let none: [(OsString, OsString); 0] = [];
    let args = serve_args(&flags).database;
    DatabaseConfig::read(args, element_id, &Environment::new(none)).map_err(|error| error.to_string())
}

/// The mode, as the client library calls it, and the file of certificates.
fn protection(flags: &[&str]) -> Result<(String, Option<PathBuf>), String> {
    match read(flags, "01")? {
        DatabaseConfig::Postgres {
            ssl_mode, ssl_ca_cert, ..
        } => Ok((format!("{ssl_mode:?}"), ssl_ca_cert)),
        DatabaseConfig::Embedded { .. } => panic!("DB_HOST is set"),
    }
}

#[test]
fn names_of_the_database_follow_the_element_id() {
    let config = read(&["--db-pool-size", "3"], "storage-02").unwrap();
    let DatabaseConfig::Postgres {
        host,
        port,
        database,
        table_prefix,
        pool_size,
        ..
    } = config
    else {
        panic!("DB_HOST is set");
    };
    assert_eq!((host.as_str(), port, pool_size), ("db", 5432, 3));
    assert_eq!(database, "artstore_storage_storage_02");
    assert_eq!(table_prefix.as_str(), "storage_elem_storage_02_");
}

#[test]
fn authority_has_the_servers_certificate_checked_or_is_refused() {
    let pem = rcgen::generate_simple_self_signed(["db".to_owned()])
        .unwrap()
        .cert
        .pem();
    let ca = temporary_file(&pem);
    let path = ca.path().to_str().unwrap();
    for (mode, alone, with_ca) in [
        (None, "Prefer", Some("VerifyFull")),
        (Some("require"), "Require", Some("VerifyCa")),
        (Some("verify-ca"), "VerifyCa", Some("VerifyCa")),
        (Some("verify-full"), "VerifyFull", Some("VerifyFull")),
        (Some("disable"), "Disable", None),
        (Some("allow"), "Allow", None),
        (Some("prefer"), "Prefer", None),
    ] {
        let flags: Vec<&str> = mode.iter().flat_map(|mode| ["--db-ssl-mode", mode]).collect();
        assert_eq!(protection(&flags), Ok((alone.to_owned(), None)), "{mode:?}");
        let flags = [flags, vec!["--db-ssl-ca-cert", path]].concat();
        match (protection(&flags), with_ca) {
            (Ok(read), Some(with_ca)) => assert_eq!(read, (with_ca.to_owned(), Some(path.into())), "{mode:?}"),
            (Err(message), None) => assert!(
                message.starts_with("DB_SSL_CA_CERT contradicts DB_SSL_MODE"),
                "{mode:?}: {message}"
            ),
            (read, _) => panic!("{mode:?}: {read:?}"),
        }
    }
}

#[test]
fn file_of_the_authority_must_hold_a_usable_certificate() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    for content in ["", "no PEM", key, broken] {
        let file = temporary_file(content);
        let message = protection(&["--db-ssl-ca-cert", file.path().to_str().unwrap()]).unwrap_err();
        assert!(
            message.starts_with("DB_SSL_CA_CERT is not usable"),
            "{content}: {message}"
        );
    }
    let message = protection(&["--db-ssl-ca-cert", "/nowhere/ca.pem"]).unwrap_err();
    assert!(message.contains("DB_SSL_CA_CERT"), "{message}");
}
