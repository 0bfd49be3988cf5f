//! The PostgreSQL edge: gives an element its role, its database and its mark, and takes them back.
//!
//! Owns every statement the operator sends to a PostgreSQL server. Must not know the Kubernetes API, and must never
//! touch a role, a database or a table that is not marked as ours.
//!
//! A mark names an element by uid, namespace and name. One with our namespace and name and another uid is an earlier life of
//! ours or an element of another cluster: only who knows the role's password, from the Secret that `Retain` keeps, or says
//! `adopt`, goes on with it. A server that lets roles in without a password (`trust` in its `pg_hba.conf`) proves nothing:
//! there, two clusters can take each other's databases when namespace and name are the same.

mod ensure;
mod error;
mod found;
mod mark;
mod plan;
mod queue;
mod release;
mod scram;
mod session;
mod sql;

use std::fmt;

use futures::future::BoxFuture;
use secrecy::SecretString;

pub use artstore_crds::SslMode;
pub use error::DatabaseError;

/// How a server is reached with the rights to create roles and databases.
#[derive(Clone, Debug)]
pub struct AdminAccess {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The administrator; needs CREATEROLE and CREATEDB, not superuser.
    pub username: String,
    /// The administrator's password.
    pub password: SecretString,
    /// How the connection is protected.
    pub ssl_mode: SslMode,
    /// PEM certificates the server's own must descend from.
    pub ca_certificate: Option<Vec<u8>>,
}

/// The element a role, database or prefix belongs to.
///
/// One that was deleted under `Retain` and created again has a new uid; it takes its old database up with its old password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What an element needs on a server.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The database's name.
    pub database: String,
    /// The element's own role; never shared between elements, also when they share a database.
    pub role: String,
    /// What all its tables begin with.
    pub table_prefix: String,
    /// The role's password, printable ASCII; written to the element's Secret before it is given here. Not read by `release`.
    pub password: SecretString,
    /// Who asks.
    pub owner: Owner,
    /// Whether an existing role, database or table may be taken that has no mark, or the mark of an element of this name
    /// with another uid. Not read by `release`.
    pub adopt: bool,
}

/// What [`DatabaseServer::ensure`] found or made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provisioned {
    /// Whether this call put the claim into place; false when all was there before.
    pub created: bool,
    /// `namespace/name` of the owner, as marked.
    pub owner: String,
}

/// What [`DatabaseServer::release`] took away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Released {
    /// The database with all in it, and the role.
    Database,
    /// The prefix's tables and the role; others live on in the database, or it was adopted.
    Prefix,
    /// Nothing of this element was there.
    Nothing,
}

/// A server that keeps elements' databases.
pub trait DatabaseServer: Send + Sync {
    /// Brings role, database, rights and mark to what `claim` says. Writes nothing when all is in place.
    ///
    /// Idempotent, and safe to be cut off anywhere: the next call ends in the same state.
    fn ensure<'a>(
        &'a self,
        access: &'a AdminAccess,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Provisioned, DatabaseError>>;

    /// Takes away what `claim`'s owner has there: the whole database when nobody else has a claim in it, else its prefix.
    ///
    /// Idempotent; leaves alone whatever is not marked as the owner's, uid included: `ensure` keeps it up to date.
    fn release<'a>(
        &'a self,
        access: &'a AdminAccess,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Released, DatabaseError>>;
}

/// The one implementation: PostgreSQL 15 and later.
#[derive(Clone, Debug, Default)]
pub struct PostgresServer {
    queues: queue::Queues,
}

impl DatabaseServer for PostgresServer {
    fn ensure<'a>(
        &'a self,
        access: &'a AdminAccess,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Provisioned, DatabaseError>> {
        Box::pin(async move {
            let _turn = self.queues.turn(access).await;
            ensure::ensure(access, claim).await
        })
    }

    fn release<'a>(
        &'a self,
        access: &'a AdminAccess,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Released, DatabaseError>> {
        Box::pin(async move {
            let _turn = self.queues.turn(access).await;
            release::release(access, claim).await
        })
    }
}

/// Refuses names that PostgreSQL cuts short or keeps for itself, before anything is sent.
fn check(access: &AdminAccess, claim: &Claim) -> Result<(), DatabaseError> {
    sql::check_name("database name", &claim.database)?;
    sql::check_name("role name", &claim.role)?;
    sql::check_name("table prefix", &claim.table_prefix)?;
    let reserved = |field, problem: &str| {
        Err(DatabaseError::Invalid {
            field,
            problem: problem.to_owned(),
        })
    };
    if matches!(
        claim.database.as_str(),
        session::MAINTENANCE | "template0" | "template1"
    ) {
        return reserved("database name", "is one of PostgreSQL's own");
    }
    if claim.role == access.username || claim.role.starts_with("pg_") {
        return reserved("role name", "is the administrator's or one of PostgreSQL's own");
    }
    Ok(())
}
