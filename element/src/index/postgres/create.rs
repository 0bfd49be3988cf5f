//! Making the element's database, for installations where nobody else does. Never changes one that is there.

use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::super::sql::Statement;
use super::connect_options;
use crate::config::DatabaseConfig;

/// The database every server has, to connect to while ours is not there.
const MAINTENANCE_DATABASE: &str = "postgres";

/// The codes of PostgreSQL for a database that is there, and for a role that may not.
const DUPLICATE: &str = "42P04";
const FORBIDDEN: &str = "42501";

/// Why the database could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateDatabaseError {
    /// There is none to make.
    #[error("--create-database needs a PostgreSQL server: set DB_HOST")]
    Embedded,
    /// The server does not answer, or does not let the role in.
    #[error("failed to connect to database \"postgres\" as {username:?} to look for {database:?}")]
    Connect {
        /// The role.
        username: String,
        /// Ours.
        database: String,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
    /// The role may not.
    #[error(
        "role {username:?} may not create database {database:?}: let an administrator run ALTER ROLE {username} CREATEDB, or \
         CREATE DATABASE {database} OWNER {username}"
    )]
    Forbidden {
        /// The role.
        username: String,
        /// Ours.
        database: String,
    },
    /// The server did not make it.
    #[error("failed to create database {database:?}")]
    Create {
        /// Ours.
        database: String,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
}

/// Makes the database the configuration names, unless it is there; answers whether it made it.
///
/// # Errors
/// When the server is away or the role may not.
pub async fn create_database(config: &DatabaseConfig) -> Result<bool, CreateDatabaseError> {
    let DatabaseConfig::Postgres { username, database, .. } = config else {
        return Err(CreateDatabaseError::Embedded);
    };
    let (username, database) = (username.clone(), database.clone());
    let failed = |source| CreateDatabaseError::Create {
        database: database.clone(),
        source,
    };
    let (options, _) = connect_options(config).map_err(failed)?;
    let options = options.database(MAINTENANCE_DATABASE);
    let mut connection = options.connect().await.map_err(|source| CreateDatabaseError::Connect {
        username: username.clone(),
        database: database.clone(),
        source,
    })?;
    let look = sqlx::query("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)").bind(&database);
    let is_there: bool = connection
        .fetch_one(look)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    let created = if is_there {
        Ok(false)
    } else {
        let create = Statement::new(format!("CREATE DATABASE {}", quoted(&database)), Vec::new());
        match connection.execute(sqlx::raw_sql(create.text())).await {
            Ok(_) => Ok(true),
            Err(source) => match source.as_database_error().and_then(|error| error.code()).as_deref() {
                Some(DUPLICATE) => Ok(false),
                Some(FORBIDDEN) => Err(CreateDatabaseError::Forbidden {
                    username,
                    database: database.clone(),
                }),
                _ => Err(failed(source)),
            },
        }
    };
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "failed to leave the maintenance database in peace");
    }
    created
}

/// A name as PostgreSQL reads it whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions as _, Executor as _};

    use super::{CreateDatabaseError, create_database, quoted};
    use crate::config::DatabaseConfig;
    use crate::index::tests::TestDatabase;

    fn named(config: &DatabaseConfig, name: &str, role: Option<&str>) -> DatabaseConfig {
        let mut config = config.clone();
        if let DatabaseConfig::Postgres {
            database,
            username,
            password,
            ..
        } = &mut config
        {
            name.clone_into(database);
            if let Some(role) = role {
                role.clone_into(username);
                *password = "word".to_owned().into();
            }
        }
        config
    }

    async fn execute(statement: String) {
        let url = std::env::var("ARTSTORE_TEST_POSTGRES").unwrap();
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }

    #[tokio::test]
    async fn missing_database_is_made_once_and_then_left_alone() {
        let database = TestDatabase::postgres().await;
        let name = format!("made \"{}\"", uuid::Uuid::new_v4().simple());
        let config = named(&database.config("p_"), &name, None);
        assert!(create_database(&config).await.unwrap());
        assert!(!create_database(&config).await.unwrap());
        execute(format!("DROP DATABASE {}", quoted(&name))).await;
        database.drop().await;
    }

    #[tokio::test]
    async fn role_that_may_not_is_told_what_to_ask_for() {
        let database = TestDatabase::postgres().await;
        let role = format!("poor_{}", uuid::Uuid::new_v4().simple());
        execute(format!("CREATE ROLE {role} LOGIN PASSWORD 'word'")).await;
        let config = named(&database.config("p_"), "never_made", Some(&role));
        let error = create_database(&config).await.unwrap_err();
        assert!(matches!(error, CreateDatabaseError::Forbidden { .. }), "{error:?}");
        assert!(error.to_string().contains("CREATEDB"), "{error}");
        execute(format!("DROP ROLE {role}")).await;
        database.drop().await;
    }

    #[tokio::test]
    async fn embedded_database_is_none_to_make() {
        let error = create_database(&TestDatabase::sqlite().config("p_")).await.unwrap_err();
        assert!(error.to_string().contains("DB_HOST"), "{error}");
    }
}
