//! One connection: how it is opened and protected, and the only place that sends statements and sorts their errors.

use std::io;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::time::timeout;

use super::{AdminAccess, Claim, DatabaseError, SslMode, sql};

/// The database every server has, for statements that belong to none.
pub(super) const MAINTENANCE: &str = "postgres";
/// Long enough for a slow network, short enough to tell the user soon.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Past the server's own `statement_timeout`: only a dead connection gets here.
const ANSWER_LIMIT: Duration = Duration::from_secs(130);
/// A server forgets a client that vanished, and with it its locks, within two minutes; a waiter gives up after 30 s.
const SETTINGS: [(&str, &str); 9] = [
    ("client_min_messages", "warning"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("idle_session_timeout", "120s"),
    ("lock_timeout", "30s"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "120s"),
    ("tcp_keepalives_count", "4"),
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "10"),
];

/// An open connection and what it takes to word its errors.
pub(super) struct Session<'a> {
    connection: PgConnection,
    access: &'a AdminAccess,
}

impl<'a> Session<'a> {
    /// Logs the administrator in.
    pub(super) async fn open(access: &'a AdminAccess, database: &str) -> Result<Self, DatabaseError> {
        Self::log_in(access, &access.username, &access.password, database).await
    }

    /// Logs the element's own role in, to see what the element will see.
    pub(super) async fn open_as_role(
        access: &'a AdminAccess,
        claim: &Claim,
        database: &str,
    ) -> Result<Self, DatabaseError> {
        Self::log_in(access, &claim.role, &claim.password, database).await
    }

    async fn log_in(
        access: &'a AdminAccess,
        username: &str,
        password: &SecretString,
        database: &str,
    ) -> Result<Self, DatabaseError> {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&access.host)
            .port(access.port)
            .username(username)
            .password(password.expose_secret())
            .database(database)
            .application_name("artstore-operator")
            .ssl_mode(protection(access))
            .options(SETTINGS)
            // Statements carry password verifiers.
            .disable_statement_logging();
        if let Some(certificate) = &access.ca_certificate {
            options = options.ssl_root_cert_from_pem(certificate.clone());
        }
        let connection = in_time(CONNECT_LIMIT, options.connect())
            .await
            .map_err(|source| DatabaseError::connecting(access, username, source))?;
        Ok(Self { connection, access })
    }

    /// Waits until nobody else works on this role or this database; held until the session ends.
    pub(super) async fn lock(&mut self, claim: &Claim) -> Result<(), DatabaseError> {
        // Every caller takes the role first, so that two never wait for each other.
        for key in [
            format!("artstore role {}", claim.role),
            format!("artstore database {}", claim.database),
        ] {
            let query = sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))").bind(key);
            let answer = in_time(ANSWER_LIMIT, query.execute(&mut self.connection)).await;
            answer.map_err(|source| self.sort(format!("lock database {:?}", claim.database), source))?;
        }
        Ok(())
    }

    /// Sends statements joined by `;`. Several are one transaction: all happen or none.
    pub(super) async fn run(&mut self, step: impl Into<String>, statements: &str) -> Result<(), DatabaseError> {
        // The one place where built text becomes SQL: `sql` has quoted every part of it.
        let query = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.connection);
        let answer = in_time(ANSWER_LIMIT, query).await;
        answer.map(drop).map_err(|source| self.sort(step.into(), source))
    }

    /// Reads the rows of a fixed statement with text arguments.
    pub(super) async fn rows<Row>(
        &mut self,
        step: &str,
        statement: &'static str,
        arguments: &[&str],
    ) -> Result<Vec<Row>, DatabaseError>
    where
        Row: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        let mut query = sqlx::query_as::<_, Row>(statement);
        for argument in arguments {
            query = query.bind((*argument).to_owned());
        }
        let answer = in_time(ANSWER_LIMIT, query.fetch_all(&mut self.connection)).await;
        answer.map_err(|source| self.sort(step.to_owned(), source))
    }

    /// Says goodbye, so that the server frees locks and database at once. Nothing depends on the answer.
    pub(super) async fn close(self) {
        drop(in_time(CONNECT_LIMIT, self.connection.close()).await);
    }

    /// What may be done without being a member of the role: all, for a superuser.
    pub(super) async fn join_role(&mut self, claim: &Claim, superuser: bool) -> Result<(), DatabaseError> {
        if superuser {
            return Ok(());
        }
        self.run(
            format!("become a member of role {:?}", claim.role),
            &sql::join_role(&claim.role),
        )
        .await
    }

    fn sort(&self, step: String, source: sqlx::Error) -> DatabaseError {
        DatabaseError::running(self.access, step, source)
    }
}

/// libpq checks the certificate under `require` as soon as there is a CA; sqlx does not.
fn protection(access: &AdminAccess) -> PgSslMode {
    match (access.ssl_mode, &access.ca_certificate) {
        (SslMode::Disable, _) => PgSslMode::Disable,
        (SslMode::Prefer, _) => PgSslMode::Prefer,
        (SslMode::Require, None) => PgSslMode::Require,
        (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => PgSslMode::VerifyCa,
        (SslMode::VerifyFull, _) => PgSslMode::VerifyFull,
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
}
