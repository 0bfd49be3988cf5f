//! Addresses with a user and a password in them: refused, and never shown.

use super::read;

#[test]
fn password_in_an_address_is_refused_without_being_shown() {
    for (variable, address) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://al:s3cret@collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://al:s3c@s3cret@collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "al:s3cret@collector:4318"),
        ("JWT_JWKS_URL", "https://al:s3cret@issuer/keys"),
        ("JWT_JWKS_URL", "https://al:s3c/s3cret@issuer/keys"),
        ("JWT_JWKS_URL", "https:al:s3cret@issuer/keys"),
        ("STORAGE_S3_ENDPOINT_URL", "https://al:s3cret@s3.example.com"),
        ("STORAGE_EXTERNAL_ENDPOINT", "https://al:s3cret@storage-01"),
        ("STORAGE_EXTERNAL_ENDPOINT", "https://s3cret@storage-01"),
    ] {
        let flag = format!("--{}={address}", variable.to_lowercase().replace('_', "-"));
        let mut flags = vec![flag.as_str()];
        match variable {
            "JWT_JWKS_URL" => {}
            "STORAGE_S3_ENDPOINT_URL" => flags.extend([
                "--dev",
                "--storage-type=s3",
                "--storage-s3-bucket-name=b",
                "--storage-s3-access-key-id=i",
                "--storage-s3-secret-access-key=k",
            ]),
            _ => flags.push("--dev"),
        }
        let message = read(&flags).err().unwrap();
        assert!(message.starts_with(&format!("{variable} has a bad value")), "{message}");
        assert!(!message.contains("s3c") && message.contains("***@"), "{message}");
    }
}

#[test]
fn address_that_is_published_may_hold_all_but_a_user() {
    for address in [
        "http://storage-01:8010",
        "https://storage_01.example/a@b",
        "http://[::1]:8010/",
    ] {
        let config = read(&["--dev", "--storage-external-endpoint", address]).unwrap();
        assert_eq!(config.storage.endpoint.as_deref(), Some(address));
    }
    for address in ["http://", "http://a b", "ftp://storage-01", "http://storage-01:port"] {
        let message = read(&["--dev", "--storage-external-endpoint", address]).err().unwrap();
        assert!(
            message.starts_with("STORAGE_EXTERNAL_ENDPOINT has a bad value"),
            "{message}"
        );
    }
}
