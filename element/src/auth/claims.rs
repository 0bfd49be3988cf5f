//! Claims: what a verified token says, turned into a caller. A token whose claims are of the wrong kind is refused, not guessed at.

use std::sync::Arc;

use element_api::Role;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::{Caller, Rights};

/// The last second of the year 9999. A later expiry is no date but a slip, such as milliseconds for seconds, and would make the
/// token good for ever.
const LAST_SECOND: u64 = 253_402_300_799;

/// The claims this server reads. `exp`, `iat` and `sub` must be there.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    exp: Number,
    /// Read only so that a token without it is refused.
    #[serde(rename = "iat")]
    _iat: Number,
    sub: String,
    role: Option<Value>,
    roles: Option<Value>,
    scope: Option<Value>,
    scopes: Option<Value>,
    scp: Option<Value>,
    preferred_username: Option<String>,
    username: Option<String>,
    name: Option<String>,
}

impl Claims {
    /// When the token expires, seconds since 1970. None when the number makes no sense.
    pub(super) fn expiry(&self) -> Option<u64> {
        let fraction = |seconds: f64| (seconds >= 0.0).then_some(seconds as u64);
        let seconds = self.exp.as_u64().or_else(|| self.exp.as_f64().and_then(fraction));
        seconds.filter(|seconds| *seconds <= LAST_SECOND)
    }

    /// The caller, or none when the token does not say who that is.
    pub(super) fn caller(self) -> Option<Arc<Caller>> {
        if self.sub.is_empty() {
            return None;
        }
        let rights = self.rights();
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let username = filled(self.preferred_username)
            .or_else(|| filled(self.username))
            .unwrap_or_else(|| self.sub.clone());
        Some(Arc::new(Caller {
            subject: self.sub,
            username,
            fullname: filled(self.name),
            rights,
        }))
    }

    /// The first of `role`, `roles` and the scopes that is there decides; the others are not asked.
    fn rights(&self) -> Rights {
        if let Some(role) = &self.role {
            return role.as_str().map_or_else(Rights::default, role_rights);
        }
        if let Some(roles) = &self.roles {
            return united(words(roles), role_rights);
        }
        match self.scope.as_ref().or(self.scopes.as_ref()).or(self.scp.as_ref()) {
            Some(scopes) => united(words(scopes), Rights::of_scope),
            None => Rights::default(),
        }
    }
}

fn role_rights(role: &str) -> Rights {
    Role::from_claim(role).map_or_else(Rights::default, Rights::of_role)
}

fn united<'a>(words: Vec<&'a str>, rights: impl Fn(&'a str) -> Rights) -> Rights {
    words.into_iter().map(rights).fold(Rights::default(), Rights::and)
}

/// The words of an array of strings, or of a text with spaces between.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
