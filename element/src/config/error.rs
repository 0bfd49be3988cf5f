//! What can be wrong with the configuration. Each message names the variable and says what to do; none shows a secret.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("{variable} is missing: {why}")]
    Missing { variable: &'static str, why: &'static str },
    #[error("{variable} is empty: give it a value or leave it out")]
    Empty { variable: &'static str },
    #[error("{variable} has a bad value {value:?}: {why}")]
    Invalid {
        variable: &'static str,
        value: String,
        why: String,
    },
    #[error("{variable} is not usable: {why}")]
    Unusable { variable: &'static str, why: String },
    #[error("{variable} contradicts {other}: {why}")]
    Contradiction {
        variable: &'static str,
        other: &'static str,
        why: &'static str,
    },
    #[error("{variable} is not supported by this version: {why}")]
    Unsupported { variable: String, why: &'static str },
    #[error("{variable} is no variable of this program{hint}")]
    Unknown { variable: String, hint: String },
    #[error("failed to read {path:?}, which {variable} names")]
    Unreadable {
        variable: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}
