//! Secrets: the database's user and password, and the token the operator shows to the element. Made once, never overwritten.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};

use super::super::validate::{Element, PASSWORD, PostgresDatabase, TOKEN, URI, USERNAME};
use crate::name;

pub(super) fn database(element: &Element, postgres: &PostgresDatabase, password: &SecretString) -> Secret {
    let data = [
        (USERNAME, postgres.role.clone()),
        (PASSWORD, password.expose_secret().to_owned()),
        (URI, uri(postgres, password)),
    ];
    secret(element, name::database_secret(&element.name), data)
}

pub(super) fn admin(element: &Element, token: &SecretString) -> Secret {
    secret(
        element,
        name::admin_secret(&element.name),
        [(TOKEN, token.expose_secret().to_owned())],
    )
}

fn secret<const N: usize>(element: &Element, name: String, data: [(&str, String); N]) -> Secret {
    Secret {
        metadata: super::kept(element, name),
        data: Some(
            data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())))
                .into(),
        ),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The connection as one line. Role, database and generated password are plain letters, digits and underscores.
fn uri(postgres: &PostgresDatabase, password: &SecretString) -> String {
    let (host, port) = (&postgres.access.host, postgres.access.port);
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    format!(
        "postgres://{}:{}@{host}:{port}/{}?sslmode={}",
        postgres.role,
        password.expose_secret(),
        postgres.name,
        postgres.ssl_mode.as_str(),
    )
}
