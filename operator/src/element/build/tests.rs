//! Every object of two elements, in full: a change of what is emitted is a change of a snapshot.

use serde_json::{Value, json};

use crate::element::example::{observed, planned};
use crate::element::plan::{Built, Objects};

/// Everything set that can be.
fn full() -> Value {
    json!({
        "elementId": "north-1",
        "mode": "rw",
        "priority": 7,
        "database": {
            "name": "files",
            "tablePrefix": "north_",
            "postgres": {
                "host": "fd00::5",
                "port": 6432,
                "adminSecretRef": {"name": "postgres-admin"},
                "sslMode": "verify-full",
                "caSecretRef": {"name": "postgres-ca"},
            },
        },
        "discovery": {"redis": {"host": "redis.example", "passwordSecretRef": {"name": "redis"}}},
        "auth": {
            "publicKeySecretRef": {"name": "jwt", "key": "other.pem"},
            "issuer": "https://issuer.example",
            "audience": "artstore",
        },
        "storage": {"local": {"size": "2Ti", "storageClassName": "fast", "accessMode": "ReadWriteOncePod"}},
        "limits": {"maxFileSize": "1Gi"},
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "storage", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
        ]}}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
        ],
        "podLabels": {"team": "archive"},
        "podAnnotations": {"backup.example/at": "night"},
    })
}

fn objects(spec: Value) -> Objects<Built> {
    planned(&observed(spec)).objects
}

#[test]
fn full_element_gives_these_objects() {
    let objects = objects(full());
    insta::assert_yaml_snapshot!("full_database_secret", objects.database_secret);
    insta::assert_yaml_snapshot!("full_admin_secret", objects.admin_secret);
    insta::assert_yaml_snapshot!("full_config", objects.config);
    insta::assert_yaml_snapshot!("full_account", objects.account);
    insta::assert_yaml_snapshot!("full_volume", objects.volume);
    insta::assert_yaml_snapshot!("full_service", objects.service);
    insta::assert_yaml_snapshot!("full_workload", objects.workload);
}

#[test]
fn plain_element_gives_these_objects() {
    let objects = objects(json!({}));
    insta::assert_yaml_snapshot!("plain_database_secret", objects.database_secret);
    insta::assert_yaml_snapshot!("plain_config", objects.config);
    insta::assert_yaml_snapshot!("plain_volume", objects.volume);
    insta::assert_yaml_snapshot!("plain_workload", objects.workload);
}

#[test]
fn embedded_element_gives_this_workload_and_no_database_secret() {
    let objects = objects(json!({"database": {"embedded": {}}}));
    assert!(objects.database_secret.is_none());
    insta::assert_yaml_snapshot!("embedded_workload", objects.workload);
}

#[test]
fn change_of_mode_or_size_leaves_the_pod_alone_only_where_it_may() {
    let before = objects(json!({"mode": "rw"})).workload;
    assert_eq!(before, objects(json!({"mode": "ro"})).workload);
    assert_ne!(before, objects(json!({"mode": "rw", "priority": 1})).workload);
}
