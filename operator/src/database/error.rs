//! What can go wrong at a PostgreSQL server, and how the server's codes map to it. Must not carry a secret in any text.

use std::io;

use super::AdminAccess;

/// Why a claim could not be put into place or released. No text of it holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No connection, or it broke: the network, the server, or its TLS.
    #[error("failed to reach PostgreSQL at {host}:{port}")]
    Unreachable {
        /// The server's host.
        host: String,
        /// The server's port.
        port: u16,
        /// What the connection said.
        source: sqlx::Error,
    },
    /// The two sides did not agree on TLS: the server has none, or its certificate is not trusted.
    #[error("failed to agree on TLS with PostgreSQL at {host}:{port}")]
    Tls {
        /// The server's host.
        host: String,
        /// The server's port.
        port: u16,
        /// What the handshake said.
        source: sqlx::Error,
    },
    /// The server refused the name or the password.
    #[error("failed to log in to PostgreSQL as {username:?}")]
    Authentication {
        /// The role that was refused.
        username: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The administrator may not do this.
    #[error("failed to {step}: the administrator lacks the privilege")]
    InsufficientPrivilege {
        /// What was tried, as in "create role \"x\"".
        step: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// Another element owns it.
    #[error("failed to claim {what}: it belongs to {owner}")]
    OwnedByOther {
        /// What was asked for, as in "database \"x\"".
        what: String,
        /// `namespace/name` of the element that has it; when that is the claim's own name, also its uid and what that means.
        owner: String,
    },
    /// The database, or tables of the prefix in it, exist without a mark and `adopt` was not given.
    #[error("failed to claim database {database:?}: it holds data without an owner's mark")]
    Unmarked {
        /// The database.
        database: String,
    },
    /// The role exists and cannot be an element's: unmarked without `adopt`, or with rights no element may have.
    #[error("failed to claim role {role:?}: it {problem}")]
    RoleTaken {
        /// The role.
        role: String,
        /// What stands against it.
        problem: &'static str,
    },
    /// A name or password in the claim that cannot be used.
    #[error("failed to use the {field}: it {problem}")]
    Invalid {
        /// Which part of the claim or access.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody else holds it just now; trying again helps.
    #[error("failed to {step}: it is in use")]
    Busy {
        /// What was tried.
        step: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The server refused a statement for another reason.
    #[error("failed to {step}")]
    Query {
        /// What was tried.
        step: String,
        /// What the server said.
        source: sqlx::Error,
    },
}

impl DatabaseError {
    /// Sorts what happened while `username` opened a connection.
    pub(super) fn connecting(access: &AdminAccess, username: &str, source: sqlx::Error) -> Self {
        match code(&source).as_deref() {
            Some("28P01" | "28000") => Self::Authentication {
                username: username.to_owned(),
                source,
            },
            _ => Self::running(access, format!("open a session as {username:?}"), source),
        }
    }

    /// Sorts what happened in `step`. Codes: PostgreSQL manual, appendix A.
    pub(super) fn running(access: &AdminAccess, step: String, source: sqlx::Error) -> Self {
        let (host, port) = (access.host.clone(), access.port);
        match &source {
            sqlx::Error::Tls(_) => return Self::Tls { host, port, source },
            // rustls reports a failed handshake through the socket.
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Self::Tls { host, port, source };
            }
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => return Self::Unreachable { host, port, source },
            _ => {}
        }
        match code(&source).as_deref() {
            Some("42501") => Self::InsufficientPrivilege { step, source },
            // A connection that broke, a server that starts, stops or was told to cut us off.
            Some("57P01" | "57P02" | "57P03") => Self::Unreachable { host, port, source },
            Some(class) if class.starts_with("08") => Self::Unreachable { host, port, source },
            // Locked, in use, too many connections, a deadlock, a statement that took too long.
            Some("55P03" | "55006" | "53300" | "40P01" | "40001" | "57014") => Self::Busy { step, source },
            _ => Self::Query { step, source },
        }
    }
}

/// The SQLSTATE of a server's answer.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}
