//! Elements as tests need them: observed, without a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use artstore_crds::{StorageElement, StorageFleet};
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::observe::{Children, Observed};
use super::plan::{Fresh, Plan, plan};
use super::validate::{Element, validate};
use crate::context::{Recollection, Settings};
use crate::probe::Answer;

/// A Secret of the example's namespace.
pub(crate) fn secret(name: &str, values: &[(&str, &str)]) -> Arc<Secret> {
    let values: BTreeMap<_, _> = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), k8s_openapi::ByteString(value.as_bytes().to_vec())))
        .collect();
    let mut secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "artstore"}})).unwrap();
    secret.data = Some(values);
    Arc::new(secret)
}

/// The element `storage-01` of the fleet `main`, with `spec` merged over the usual one; its Secrets exist, its children do not.
pub(crate) fn observed(spec: Value) -> Observed {
    let mut element = json!({
        "apiVersion": "artstore.dev/v1alpha1",
        "kind": "StorageElement",
        "metadata": {
            "name": "storage-01",
            "namespace": "artstore",
            "uid": "11111111-2222-3333-4444-555555555555",
            "generation": 3,
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": {"fleetRef": {"name": "main"}, "mode": "edit", "storage": {"local": {"size": "10Gi"}}},
    });
    json_patch::merge(&mut element["spec"], &spec);
    let element: StorageElement = serde_json::from_value(element).unwrap();
    Observed {
        namespace: "artstore".to_owned(),
        name: "storage-01".to_owned(),
        uid: element.metadata.uid.clone().unwrap(),
        element: Arc::new(element),
        fleet: Some(Arc::new(fleet(json!({})))),
        secrets: [
            secret(
                "postgres-admin",
                &[("username", "postgres"), ("password", "admin-password\n")],
            ),
            secret("postgres-ca", &[("ca.crt", "-----BEGIN CERTIFICATE-----")]),
            secret("redis", &[("password", "redis-password")]),
            secret(
                "jwt",
                &[
                    ("public.pem", "-----BEGIN PUBLIC KEY-----"),
                    ("other.pem", "-----BEGIN PUBLIC KEY-----"),
                ],
            ),
        ]
        .map(|secret| (secret.metadata.name.clone().unwrap(), secret))
        .into(),
        children: Children::default(),
        answer: Answer::default(),
        recollection: Recollection::default(),
    }
}

/// The fleet `main` with `spec` merged over the usual one.
pub(crate) fn fleet(spec: Value) -> StorageFleet {
    let mut fleet = json!({
        "apiVersion": "artstore.dev/v1alpha1",
        "kind": "StorageFleet",
        "metadata": {"name": "main", "namespace": "artstore"},
        "spec": {
            "image": "registry.example/artstore-element:1.2.3",
            "database": {"postgres": {"host": "postgres.example", "adminSecretRef": {"name": "postgres-admin"}}},
            "auth": {"publicKeySecretRef": {"name": "jwt"}},
        },
    });
    json_patch::merge(&mut fleet["spec"], &spec);
    serde_json::from_value(fleet).unwrap()
}

/// The valid element that `observed` wishes for.
pub(crate) fn element(observed: &Observed) -> Element {
    validate(observed, &Settings::default()).unwrap()
}

/// The plan for it, with secrets that are always the same.
pub(crate) fn planned(observed: &Observed) -> Plan {
    let fresh = Fresh {
        password: SecretString::from("generated-password"),
        token: SecretString::from("generated-token"),
    };
    plan(&element(observed), observed, fresh)
}
