//! From a valid element to what is to be done: the objects to apply and the database to claim. Pure.

use std::fmt;
use std::marker::PhantomData;

use aws_lc_rs::hmac;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use secrecy::{ExposeSecret, SecretString};

use super::build;
use super::observe::Observed;
use super::validate::{Database, Element, PASSWORD, TOKEN, text, value};
use super::{SecretKey, hex};
use crate::database::{AdminAccess, Claim, Owner};

/// Objects as they were built, not yet applied.
pub(crate) struct Built;
/// Objects as the API server holds them.
pub(crate) struct Applied;

/// An element's children.
pub(crate) struct Objects<State> {
    pub(crate) database_secret: Option<Secret>,
    pub(crate) admin_secret: Secret,
    pub(crate) config: ConfigMap,
    pub(crate) account: ServiceAccount,
    pub(crate) volume: PersistentVolumeClaim,
    pub(crate) service: Service,
    pub(crate) workload: Deployment,
    pub(crate) state: PhantomData<State>,
}

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) objects: Objects<Built>,
    /// The database to claim, and where.
    pub(crate) claim: Option<(AdminAccess, Claim)>,
}

/// Secrets for the case that there are none yet.
pub(crate) struct Fresh {
    pub(crate) password: SecretString,
    pub(crate) token: SecretString,
}

impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Plan").finish_non_exhaustive()
    }
}

/// What is to be done for `element`.
pub(crate) fn plan(element: &Element, observed: &Observed, fresh: Fresh) -> Plan {
    let children = &observed.children;
    let password = kept(children.database_secret.as_deref(), PASSWORD).unwrap_or(fresh.password);
    let token = kept(children.admin_secret.as_deref(), TOKEN).unwrap_or(fresh.token);
    let claim = match &element.database {
        Database::Postgres(postgres) => {
            let claim = Claim {
                database: postgres.name.clone(),
                role: postgres.role.clone(),
                table_prefix: postgres.table_prefix.clone(),
                password: password.clone(),
                owner: owner(observed),
                adopt: postgres.adopt,
            };
            Some((postgres.access.clone(), claim))
        }
        Database::Embedded { .. } => None,
    };
    let fingerprint = fingerprint(element, observed, &password, &token);
    Plan {
        objects: build::objects(element, &password, &token, &fingerprint),
        claim,
    }
}

/// Who claims.
pub(crate) fn owner(observed: &Observed) -> Owner {
    Owner {
        uid: observed.uid.clone(),
        namespace: observed.namespace.clone(),
        name: observed.name.clone(),
    }
}

fn kept(secret: Option<&Secret>, key: &str) -> Option<SecretString> {
    Some(SecretString::from(text(value(secret?, key)?)))
}

/// A keyed hash of every secret the pod reads at its start: another value means another pod. The key is as secret as they
/// are, so the hash says nothing of a weak password.
fn fingerprint(element: &Element, observed: &Observed, password: &SecretString, token: &SecretString) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret().as_bytes());
    let mut hash = hmac::Context::with_key(&key);
    let mut add = |label: &str, value: &[u8]| {
        hash.update(label.as_bytes());
        hash.update(&value.len().to_be_bytes());
        hash.update(value);
    };
    let referred = |reference: &SecretKey| {
        observed
            .secrets
            .get(&reference.name)
            .and_then(|secret| value(secret, &reference.key))
            .unwrap_or_default()
    };
    if let Database::Postgres(postgres) = &element.database {
        add("database", password.expose_secret().as_bytes());
        if let Some(reference) = &postgres.ca {
            add("ca", &referred(reference));
        }
    }
    if let Some(reference) = element.discovery.as_ref().and_then(|redis| redis.password.as_ref()) {
        add("discovery", &referred(reference));
    }
    add("auth", &referred(&element.auth.key));
    hex(hash.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use crate::element::example::{observed, planned, secret};
    use crate::name::SECRETS;

    fn fingerprint(observed: &crate::element::observe::Observed) -> String {
        let template = planned(observed).objects.workload.spec.unwrap().template;
        template.metadata.unwrap().annotations.unwrap()[SECRETS].clone()
    }

    #[test]
    fn new_secret_value_gives_a_new_pod() {
        let mut observed = observed(json!({}));
        let before = fingerprint(&observed);
        assert_eq!(before, fingerprint(&observed));
        observed.secrets.insert(
            "jwt".to_owned(),
            secret("jwt", &[("public.pem", "another"), ("more", "x")]),
        );
        assert_ne!(before, fingerprint(&observed));
    }

    #[test]
    fn kept_password_is_used_again() {
        let mut observed = observed(json!({}));
        observed.children.database_secret = Some(secret("storage-01-db", &[("username", "x"), ("password", "kept")]));
        observed.children.database_secret = observed.children.database_secret.map(|secret| {
            let mut secret = secret.as_ref().clone();
            secret.metadata.labels = Some(crate::name::labels("storage-01", None));
            secret.into()
        });
        let plan = planned(&observed);
        let (_, claim) = plan.claim.unwrap();
        assert_eq!(claim.password.expose_secret(), "kept");
        assert_eq!(
            (claim.role.as_str(), claim.database.as_str()),
            ("artstore_storage_01", "artstore_storage_01")
        );
    }

    #[test]
    fn role_is_the_element_s_own_also_in_a_shared_database() {
        let (access, claim) = planned(&observed(json!({"database": {"name": "shared"}})))
            .claim
            .unwrap();
        assert_eq!(
            (claim.role.as_str(), claim.database.as_str()),
            ("artstore_storage_01", "shared")
        );
        assert_eq!(access.password.expose_secret(), "admin-password");
    }
}
