//! The environment of the element's container: its configuration, without a secret in it.

use k8s_openapi::api::core::v1::EnvVar;

use super::super::HTTP_PORT;
use super::super::validate::{Database, Element};
use super::mounts;

pub(super) fn environment(element: &Element) -> Vec<EnvVar> {
    let mut all = vec![
        variable("SERVER_HOST", "0.0.0.0"),
        variable("SERVER_PORT", HTTP_PORT),
        variable("APP_MODE_FILE", mounts::MODE),
        variable("ADMIN_TOKEN_FILE", mounts::ADMIN_TOKEN),
        variable("STORAGE_TYPE", "local"),
        variable("STORAGE_LOCAL_BASE_PATH", mounts::DATA),
        variable("STORAGE_MAX_SIZE", element.volume.bytes),
        variable("STORAGE_ELEMENT_ID", &element.id),
        variable("STORAGE_PRIORITY", element.priority),
        variable(
            "STORAGE_EXTERNAL_ENDPOINT",
            super::super::endpoint(&element.namespace, &element.name),
        ),
    ];
    all.extend(
        element
            .max_file_size
            .map(|bytes| variable("UPLOAD_MAX_FILE_SIZE", bytes)),
    );
    all.extend(database(element));
    all.extend(discovery(element));
    all.push(variable("JWT_PUBLIC_KEY_PATH", mounts::PUBLIC_KEY));
    all.extend(
        element
            .auth
            .issuer
            .as_ref()
            .map(|issuer| variable("JWT_ISSUER", issuer)),
    );
    all.extend(
        element
            .auth
            .audience
            .as_ref()
            .map(|audience| variable("JWT_AUDIENCE", audience)),
    );
    all.push(variable("LOG_FORMAT", "json"));
    all
}

/// Without a host the element keeps its index in the volume.
fn database(element: &Element) -> Vec<EnvVar> {
    match &element.database {
        Database::Embedded { table_prefix } => vec![variable("DB_TABLE_PREFIX", table_prefix)],
        Database::Postgres(postgres) => {
            let mut all = vec![
                variable("DB_HOST", &postgres.access.host),
                variable("DB_PORT", postgres.access.port),
                variable("DB_DATABASE", &postgres.name),
                variable("DB_TABLE_PREFIX", &postgres.table_prefix),
                variable("DB_USERNAME", &postgres.role),
                variable("DB_PASSWORD_FILE", mounts::DATABASE_PASSWORD),
                variable("DB_SSL_MODE", postgres.ssl_mode.as_str()),
            ];
            all.extend(
                postgres
                    .ca
                    .as_ref()
                    .map(|_| variable("DB_SSL_CA_CERT", mounts::DATABASE_CA)),
            );
            all
        }
    }
}

fn discovery(element: &Element) -> Vec<EnvVar> {
    let Some(redis) = &element.discovery else {
        return Vec::new();
    };
    let mut all = vec![variable("REDIS_HOST", &redis.host), variable("REDIS_PORT", redis.port)];
    all.extend(
        redis
            .password
            .as_ref()
            .map(|_| variable("REDIS_PASSWORD_FILE", mounts::DISCOVERY_PASSWORD)),
    );
    all
}

fn variable(name: &str, value: impl ToString) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_string()),
        value_from: None,
    }
}
