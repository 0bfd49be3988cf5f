//! A database of this run's own on the server of `ARTSTORE_TEST_POSTGRES`, dropped at its end.

use anyhow::{Context, Result};

use crate::command::{command, run};

/// The variable that names a PostgreSQL superuser's URL.
pub const VARIABLE: &str = "ARTSTORE_TEST_POSTGRES";

/// See the module.
#[derive(Debug)]
pub struct Server {
    url: String,
    database: String,
}

impl Server {
    /// The server of the environment, if there is one.
    pub fn of_environment() -> Result<Option<Self>> {
        let Ok(url) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        let server = Self {
            url,
            database: format!("crash_{}", uuid::Uuid::new_v4().simple()),
        };
        server.execute(&format!("CREATE DATABASE {}", server.database))?;
        Ok(Some(server))
    }

    /// What an element needs to use it.
    pub fn variables(&self) -> Result<[(&'static str, String); 6]> {
        let whole = || format!("{VARIABLE} is no postgres://USER:PASSWORD@HOST:PORT/DATABASE");
        let rest = self.url.split_once("://").with_context(whole)?.1;
        let (credentials, place) = rest.split_once('@').with_context(whole)?;
        let (user, password) = credentials.split_once(':').with_context(whole)?;
        let (host, port) = place
            .split('/')
            .next()
            .unwrap_or_default()
            .split_once(':')
            .with_context(whole)?;
        Ok([
            ("DB_HOST", host.to_owned()),
            ("DB_PORT", port.to_owned()),
            ("DB_USERNAME", user.to_owned()),
            ("DB_PASSWORD", password.to_owned()),
            ("DB_DATABASE", self.database.clone()),
            ("DB_POOL_SIZE", "4".to_owned()),
        ])
    }

    fn execute(&self, statement: &str) -> Result<()> {
        run(&mut command("psql", [self.url.as_str(), "-qc", statement])).map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that ends with this run takes the database along.
        let _dropped = self.execute(&format!("DROP DATABASE {} WITH (FORCE)", self.database));
    }
}
