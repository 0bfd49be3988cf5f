//! Values of parts that another value switches on: a database server, Redis, a bucket, an issuer.

use std::collections::BTreeSet;

use super::{read, temporary_file};

const DATABASE: &[&str] = &["--db-host=db", "--db-username=u", "--db-password=p"];
const REDIS: &[&str] = &["--redis-host=redis"];
const BUCKET: &[&str] = &[
    "--storage-type=s3",
    "--storage-s3-bucket-name=artstore",
    "--storage-s3-access-key-id=id",
    "--storage-s3-secret-access-key=s3cret",
];

/// What is said of a part with one more value, beside a database server and a key.
fn said_of(part: &[&str], flag: &str, value: &str) -> Result<(), String> {
    let jwks = "--jwt-jwks-url=http://127.0.0.1:1/jwks.json";
    let given = format!("{flag}={value}");
    // The value in question takes the place of the part's own.
    let own = DATABASE
        .iter()
        .chain(part)
        .filter(|own| !own.starts_with(&format!("{flag}=")));
    let flags: BTreeSet<&str> = own.copied().chain([jwks, given.as_str()]).collect();
    read(&flags.into_iter().collect::<Vec<_>>()).map(drop)
}

#[test]
fn bad_values_name_their_variable() {
    for (part, flag, values) in [
        (DATABASE, "--db-host", &[""][..]),
        (DATABASE, "--db-port", &["0", "65536", "postgres", ""]),
        (DATABASE, "--db-username", &[" "]),
        (DATABASE, "--db-password", &[""]),
        (DATABASE, "--db-database", &[""]),
        (DATABASE, "--db-table-prefix", &["", "1a_", "A_", "a-b", "a;drop"]),
        (DATABASE, "--db-pool-size", &["", "0", "1", "-3", "many", "100000"]),
        (DATABASE, "--db-ssl-mode", &["", "on", "verify"]),
        (DATABASE, "--db-ssl-ca-cert", &["", "/nowhere/ca.pem"]),
        (DATABASE, "--storage-shared", &["", "perhaps"]),
        (REDIS, "--redis-host", &[""]),
        (REDIS, "--redis-port", &["0", "tcp://10.0.0.1:6379"]),
        (REDIS, "--redis-password", &[""]),
        (REDIS, "--redis-password-file", &["/nowhere/password"]),
        (REDIS, "--redis-cluster", &["", "three"]),
        (REDIS, "--redis-tls", &["", "tls"]),
        (BUCKET, "--storage-type", &["S3", "nfs", ""]),
        (BUCKET, "--storage-shared", &["true", "false"]),
        (
            BUCKET,
            "--storage-s3-endpoint-url",
            &[
                "",
                "s3.example.com",
                "https://",
                "https://s3/bucket",
                "https://u:p@s3",
                "ftp://s3",
            ],
        ),
        (
            BUCKET,
            "--storage-s3-bucket-name",
            &["", "a/b", "bucket?", &"b".repeat(64)],
        ),
        (BUCKET, "--storage-s3-region", &[""]),
        (
            BUCKET,
            "--storage-s3-app-folder",
            &["", "/a", "a//b", "a/../b", "a/\u{7}", &"f".repeat(513)],
        ),
        (BUCKET, "--storage-s3-access-key-id", &[""]),
        (BUCKET, "--storage-s3-secret-access-key", &[""]),
        (&[], "--jwt-issuer", &[""]),
        (&[], "--jwt-audience", &[""]),
        (&[], "--jwt-leeway", &["", "-1s", "1d"]),
        (&[], "--app-mode-file", &[""]),
        (&[], "--storage-local-base-path", &[""]),
    ] {
        assert_eq!(said_of(part, "--log-level", "info"), Ok(()), "{part:?}");
        let variable = flag.trim_start_matches("--").replace('-', "_").to_uppercase();
        for value in values {
            let message = said_of(part, flag, value).err();
            let named = message.as_ref().is_some_and(|message| message.contains(&variable));
            assert!(named, "{flag}={value}: {message:?}");
        }
    }
}

#[test]
fn bucket_wants_its_name_its_keys_and_a_database_server() {
    let jwks = "--jwt-jwks-url=http://127.0.0.1:1/jwks.json";
    for missing in [
        "--storage-s3-bucket-name",
        "--storage-s3-access-key-id",
        "--storage-s3-secret-access-key",
    ] {
        let flags = DATABASE.iter().chain(BUCKET).filter(|flag| !flag.starts_with(missing));
        let flags: Vec<&str> = flags.copied().chain([jwks]).collect();
        let variable = missing.trim_start_matches("--").replace('-', "_").to_uppercase();
        let message = read(&flags).err().unwrap();
        assert!(message.starts_with(&format!("{variable} is missing")), "{message}");
    }
    let flags: Vec<&str> = BUCKET.iter().copied().chain([jwks]).collect();
    let message = read(&flags).err().unwrap();
    assert!(message.starts_with("DB_HOST is missing"), "{message}");
}

#[test]
fn secret_may_stand_in_a_file_and_never_in_a_message() {
    let password = temporary_file("hidden-word\n");
    let path = password.path().to_str().unwrap();
    for part in [
        vec!["--db-host=db", "--db-username=u", "--db-password-file", path],
        [DATABASE, REDIS, &["--redis-password-file", path]].concat(),
    ] {
        let flags = [&part[..], &["--jwt-jwks-url=http://127.0.0.1:1/jwks.json"]].concat();
        let config = read(&flags).unwrap();
        assert!(!format!("{:?} {:?}", config.database, config.redis).contains("hidden-word"));
    }
    for content in ["", "\n", "\r\n"] {
        let empty = temporary_file(content);
        let path = empty.path().to_str().unwrap();
        let flags = ["--db-host=db", "--db-username=u", "--db-password-file", path];
        let message = read(&flags).err().unwrap();
        assert!(message.starts_with("DB_PASSWORD_FILE is not usable"), "{message}");
    }
    let message = said_of(BUCKET, "--storage-s3-region", "").unwrap_err();
    assert!(!message.contains("s3cret"), "{message}");
}
