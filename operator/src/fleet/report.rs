//! A fleet's status. Pure.

use std::sync::Arc;

use artstore_crds::{StorageElement, StorageFleet, StorageFleetSpec, StorageFleetStatus};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::cluster::{Notice, Weight};
use crate::verdict::{Part, Reason};

/// The Secrets a fleet refers to, each with the keys that must be in it.
pub(super) fn secrets(spec: &StorageFleetSpec) -> Vec<(&str, Vec<&str>)> {
    let mut all = Vec::new();
    if let Some(postgres) = spec.database.as_ref().and_then(|database| database.postgres.as_ref()) {
        all.push((postgres.admin_secret_ref.name.as_str(), vec!["username", "password"]));
        all.extend(
            postgres
                .ca_secret_ref
                .as_ref()
                .map(|ca| (ca.name.as_str(), vec![ca.key_or("ca.crt")])),
        );
    }
    let redis = spec.discovery.as_ref().and_then(|discovery| discovery.redis.as_ref());
    let redis_password = redis.and_then(|redis| redis.password_secret_ref.as_ref());
    all.extend(redis_password.map(|password| (password.name.as_str(), vec![password.key_or("password")])));
    let public_key = spec.auth.as_ref().and_then(|auth| auth.public_key_secret_ref.as_ref());
    all.extend(public_key.map(|key| (key.name.as_str(), vec![key.key_or("public.pem")])));
    all
}

/// The status, and what is worth telling of it.
pub(super) fn report(
    fleet: &StorageFleet,
    elements: &[Arc<StorageElement>],
    present: impl Fn(&str) -> Option<Arc<Secret>>,
    now: Timestamp,
) -> (StorageFleetStatus, Option<Notice>) {
    let missing: Vec<_> = secrets(&fleet.spec)
        .into_iter()
        .filter_map(|(name, keys)| lack(name, &keys, &present))
        .collect();
    let (status, reason, message) = if missing.is_empty() {
        (
            "True",
            Reason::Resolved,
            "everything the fleet refers to is there".to_owned(),
        )
    } else {
        ("False", Reason::SecretNotFound, missing.join("; "))
    };
    let before = fleet.status.as_ref().and_then(|status| status.conditions.first());
    let changed = before.is_none_or(|before| before.status != status);
    let since = before
        .filter(|_| !changed)
        .map(|before| before.last_transition_time.clone());
    let notice = (changed && !missing.is_empty()).then(|| Notice {
        weight: Weight::Warning,
        reason,
        message: message.clone(),
    });
    let condition = Condition {
        type_: Part::Ready.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message,
        observed_generation: fleet.metadata.generation,
        last_transition_time: since.unwrap_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
    };
    let next = StorageFleetStatus {
        observed_generation: fleet.metadata.generation,
        conditions: vec![condition],
        elements: Some(count(elements.iter())),
        ready_elements: Some(count(elements.iter().filter(|element| is_ready(element)))),
    };
    (next, notice)
}

fn lack(name: &str, keys: &[&str], present: &impl Fn(&str) -> Option<Arc<Secret>>) -> Option<String> {
    let Some(secret) = present(name) else {
        return Some(format!(
            "Secret {name} does not exist: create it with {}",
            keys.join(" and ")
        ));
    };
    let lacking: Vec<_> = keys
        .iter()
        .filter(|key| {
            secret
                .data
                .as_ref()
                .and_then(|data| data.get(**key))
                .is_none_or(|value| value.0.is_empty())
        })
        .copied()
        .collect();
    (!lacking.is_empty()).then(|| format!("Secret {name} lacks {}: add it", lacking.join(" and ")))
}

fn is_ready(element: &StorageElement) -> bool {
    let conditions = element.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|condition| condition.type_ == Part::Ready.as_str() && condition.status == "True")
}

fn count<'a>(elements: impl Iterator<Item = &'a Arc<StorageElement>>) -> i64 {
    i64::try_from(elements.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use artstore_crds::StorageFleet;
    use k8s_openapi::api::core::v1::Secret;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::report;

    fn fleet() -> StorageFleet {
        serde_json::from_value(json!({
            "apiVersion": "artstore.dev/v1alpha1",
            "kind": "StorageFleet",
            "metadata": {"name": "main", "namespace": "n", "generation": 3},
            "spec": {
                "database": {"postgres": {"host": "db", "adminSecretRef": {"name": "admin"}}},
                "auth": {"publicKeySecretRef": {"name": "jwt", "key": "k"}},
            },
        }))
        .unwrap()
    }

    fn secret(keys: &[&str]) -> Arc<Secret> {
        let data: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), json!("eA=="))).collect();
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "s"}, "data": data})).unwrap())
    }

    #[test]
    fn missing_secrets_and_keys_are_all_named() {
        let present = |name: &str| (name == "admin").then(|| secret(&["username"]));
        let (status, notice) = report(&fleet(), &[], present, Timestamp::UNIX_EPOCH);
        assert_eq!(
            status.conditions[0].message,
            "Secret admin lacks password: add it; Secret jwt does not exist: create it with k"
        );
        assert!(notice.is_some());
    }

    #[test]
    fn the_same_state_twice_changes_nothing() {
        let present = |name: &str| (name != "other").then(|| secret(&["username", "password", "k"]));
        let mut fleet = fleet();
        let (status, notice) = report(&fleet, &[], present, Timestamp::UNIX_EPOCH);
        assert!(notice.is_none() && status.conditions[0].status == "True");
        fleet.status = Some(status.clone());
        let later = Timestamp::from_second(1000).unwrap();
        assert_eq!(report(&fleet, &[], present, later).0, status);
    }
}
