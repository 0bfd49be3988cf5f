//! The Secrets an element needs: its own, and those it refers to. Pure.

use artstore_crds::SecretKeyRef;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::super::SecretKey;
use super::super::observe::Observed;
use super::super::resolve::Source;
use super::Violations;
use crate::name;
use crate::verdict::{Part, Reason};

/// The keys of the administrator's Secret and of the element's own.
pub(crate) const USERNAME: &str = "username";
pub(crate) const PASSWORD: &str = "password";
/// The connection as one line, in the element's own Secret.
pub(crate) const URI: &str = "uri";
/// The key of the Secret the operator and the element share.
pub(crate) const TOKEN: &str = "token";

/// The default keys of Secrets that are referred to.
pub(super) const CA: &str = "ca.crt";
pub(super) const REDIS_PASSWORD: &str = "password";
pub(super) const PUBLIC_KEY: &str = "public.pem";

/// Secrets are watched whoever made them, so one that is in the way is known before anything is written.
pub(super) fn own(observed: &Observed, violations: &mut Violations) {
    let embedded = observed.resolved().database == Some(Source::Embedded);
    let database = observed.children.database_secret.as_ref().filter(|_| !embedded);
    for secret in database.into_iter().chain(&observed.children.admin_secret) {
        if !name::is_child_of(secret.labels(), &observed.name) {
            let message = format!(
                "Secret {} exists and is not the operator's: delete it, or name the element otherwise",
                secret.name_any()
            );
            violations.add(Part::Ready, Reason::NameTaken, message);
            continue;
        }
        let wanted: &[&str] = if secret.name_any() == name::admin_secret(&observed.name) {
            &[TOKEN]
        } else {
            &[USERNAME, PASSWORD]
        };
        for key in wanted {
            if value(secret, key).is_none() {
                let message = format!(
                    "Secret {} lacks the key {key}: restore it, or delete the Secret to have a new one made",
                    secret.name_any()
                );
                violations.add(Part::Ready, Reason::SecretKeyMissing, message);
            }
        }
    }
}

pub(super) fn key(reference: &SecretKeyRef, default: &str) -> SecretKey {
    SecretKey {
        name: reference.name.clone(),
        key: reference.key_or(default).to_owned(),
    }
}

pub(super) fn required(
    observed: &Observed,
    secret: &str,
    key: &str,
    part: Part,
    whose: &str,
    violations: &mut Violations,
) -> Option<Vec<u8>> {
    let Some(found) = observed.secrets.get(secret) else {
        let message = format!(
            "Secret {secret} does not exist in namespace {}: create it with {whose} {key}",
            observed.namespace
        );
        violations.add(part, Reason::SecretNotFound, message);
        return None;
    };
    let value = value(found, key);
    if value.is_none() {
        let message = format!("Secret {secret} lacks the key {key}: add {whose} {key} to it");
        violations.add(part, Reason::SecretKeyMissing, message);
    }
    value
}

/// The value of a Secret's key; an empty one is none.
pub(crate) fn value(secret: &Secret, key: &str) -> Option<Vec<u8>> {
    secret
        .data
        .as_ref()?
        .get(key)
        .map(|value| value.0.clone())
        .filter(|value| !value.is_empty())
}

/// A Secret's value as text, without the line break an editor may have left at its end.
pub(crate) fn text(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value)
        .trim_end_matches(['\r', '\n'])
        .to_owned()
}
