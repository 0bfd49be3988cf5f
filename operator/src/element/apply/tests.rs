//! What is left alone, what is told, and what a kept Secret learns.

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::{Founded, annotated, changed, is_left_alone, moved, would_lose_files};
use crate::element::example::{observed, planned};
use crate::element::plan::Objects;

fn founded(spec: Value) -> Objects<Founded> {
    let objects = planned(&observed(spec)).objects;
    Objects {
        database_secret: objects.database_secret,
        admin_secret: objects.admin_secret,
        config: objects.config,
        account: objects.account,
        volume: objects.volume,
        service: objects.service,
        workload: objects.workload,
        state: PhantomData,
    }
}

/// The workload of `spec`, as it is after it was applied.
fn applied(spec: Value) -> Deployment {
    annotated(founded(spec).workload).unwrap().0
}

fn database_secret(spec: Value) -> Secret {
    founded(spec).database_secret.unwrap()
}

#[test]
fn changed_workload_waits_while_its_volume_is_being_deleted() {
    let live = applied(json!({}));
    let mut objects = founded(json!({"image": "other:1"}));
    assert!(!would_lose_files(&objects, Some(&live)).unwrap());
    objects.volume.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap());
    assert!(would_lose_files(&objects, Some(&live)).unwrap());
    assert!(would_lose_files(&objects, None).unwrap());
    objects.workload = founded(json!({})).workload;
    assert!(!would_lose_files(&objects, Some(&live)).unwrap());
}

#[test]
fn empty_value_of_a_toleration_is_not_applied_again() {
    let spec = json!({"tolerations": [{"key": "storage", "operator": "Exists", "value": ""}]});
    let (desired, hash) = annotated(founded(spec.clone()).workload).unwrap();
    let mut live = applied(spec);
    // The API server drops it.
    let template = &mut live.spec.as_mut().unwrap().template;
    template.spec.as_mut().unwrap().tolerations.as_mut().unwrap()[0].value = None;
    assert!(is_left_alone(&desired, &hash, &live).unwrap());
}

#[test]
fn drift_is_told_when_a_write_changed_something_that_others_had_changed() {
    let version = |version: &str| {
        let mut object = applied(json!({}));
        object.metadata.resource_version = Some(version.to_owned());
        object
    };
    let (_, hash) = annotated(founded(json!({})).workload).unwrap();
    assert!(changed(&hash, &version("1"), &version("2")).is_some());
    assert!(changed(&hash, &version("1"), &version("1")).is_none());
    assert!(changed("another wish", &version("1"), &version("2")).is_none());
}

#[test]
fn kept_secret_learns_user_and_connection_and_keeps_its_password() {
    let live = database_secret(json!({}));
    assert_eq!(moved(&live, &database_secret(json!({}))), None);
    let wanted = database_secret(json!({"elementId": "north"}));
    let fields = moved(&live, &wanted).unwrap();
    let told: Secret = serde_json::from_value(fields).unwrap();
    let (told, wanted) = (told.data.unwrap(), wanted.data.unwrap());
    assert_eq!(told.keys().collect::<Vec<_>>(), ["uri", "username"]);
    assert_eq!((&told["uri"], &told["username"]), (&wanted["uri"], &wanted["username"]));
}
