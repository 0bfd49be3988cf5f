//! What is refused, and in which words.

use std::sync::Arc;

use serde_json::json;

use super::validate;
use crate::context::Settings;
use crate::element::example::{fleet, observed, secret};
use crate::element::observe::Observed;
use crate::verdict::Reason;

fn reasons(observed: &Observed) -> Vec<Reason> {
    validate(observed, &Settings::default())
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|it| it.reason)
        .collect()
}

#[test]
fn usual_element_is_valid_and_named_after_the_contract() {
    let observed = observed(json!({}));
    let element = validate(&observed, &Settings::default()).unwrap();
    assert_eq!(element.id, "01");
    assert_eq!(element.volume.bytes, 10 << 30);
    // 2026-01-02T03:04:05Z in milliseconds, and the third generation.
    assert_eq!(element.mode_generation, 1_767_323_045_003);
}

#[test]
fn all_violations_come_at_once() {
    let mut observed = observed(json!({"limits": {"maxFileSize": "lots"}, "storage": {"local": {"size": "none"}}}));
    observed.secrets.clear();
    observed.fleet = Some(Arc::new(fleet(json!({"image": null}))));
    assert_eq!(
        reasons(&observed),
        [
            Reason::ImageMissing,
            Reason::InvalidValue,
            Reason::InvalidValue,
            Reason::SecretNotFound,
            Reason::SecretNotFound,
        ]
    );
}

#[test]
fn missing_fleet_is_the_only_thing_said_of_what_it_would_set() {
    let mut observed = observed(json!({}));
    observed.fleet = None;
    assert_eq!(reasons(&observed), [Reason::FleetNotFound]);
}

#[test]
fn element_needs_no_fleet_when_all_is_inline() {
    let mut observed = observed(json!({
        "fleetRef": null,
        "image": "artstore-element:1",
        "database": {"embedded": {}},
        "auth": {"publicKeySecretRef": {"name": "jwt"}},
    }));
    observed.fleet = None;
    assert_eq!(reasons(&observed), []);
}

#[test]
fn element_s_own_settings_win_over_the_fleet_s() {
    let observed = observed(json!({"image": "mine:1", "database": {"embedded": {}}}));
    let element = validate(&observed, &Settings::default()).unwrap();
    assert_eq!(element.image, "mine:1");
    assert!(matches!(element.database, super::Database::Embedded { .. }));
}

#[test]
fn empty_key_and_empty_value_are_missing() {
    let mut observed = observed(json!({}));
    observed
        .secrets
        .insert("jwt".to_owned(), secret("jwt", &[("public.pem", "")]));
    observed.secrets.insert(
        "postgres-admin".to_owned(),
        secret("postgres-admin", &[("username", "a")]),
    );
    assert_eq!(reasons(&observed), [Reason::SecretKeyMissing, Reason::SecretKeyMissing]);
}

#[test]
fn secret_of_somebody_else_is_not_taken() {
    let mut observed = observed(json!({}));
    observed.children.admin_secret = Some(secret("storage-01-admin", &[("token", "theirs")]));
    assert_eq!(reasons(&observed), [Reason::NameTaken]);
}

#[test]
fn installation_s_image_is_the_last_resort() {
    let mut observed = observed(json!({}));
    observed.fleet = Some(Arc::new(fleet(json!({"image": null}))));
    let settings = Settings {
        default_image: Some("default:1".to_owned()),
        ..Settings::default()
    };
    assert_eq!(validate(&observed, &settings).unwrap().image, "default:1");
}

#[test]
fn new_image_of_the_installation_is_for_new_elements_only() {
    let with = |image: Option<&str>| {
        let mut observed = observed(json!({"image": image}));
        let mut element = observed.element.as_ref().clone();
        let effective = json!({"effective": {
            "elementId": "01", "image": "running:1", "database": "embedded", "deletionPolicy": "Retain",
        }});
        element.status = Some(serde_json::from_value(effective).unwrap());
        observed.element = Arc::new(element);
        observed.fleet = Some(Arc::new(fleet(json!({"image": null}))));
        let settings = Settings {
            default_image: Some("default:2".to_owned()),
            ..Settings::default()
        };
        validate(&observed, &settings).unwrap().image
    };
    assert_eq!(with(None), "running:1");
    assert_eq!(with(Some("mine:3")), "mine:3");
}

#[test]
fn secret_of_somebody_else_is_no_matter_to_an_element_that_needs_none_of_that_name() {
    let mut observed = observed(json!({"database": {"embedded": {}}}));
    observed.children.database_secret = Some(secret("storage-01-db", &[("theirs", "x")]));
    assert_eq!(reasons(&observed), []);
}
