//! The operator as README installs it: by the chart's default values, for all namespaces. Alone in its program, since it looks after
//! the elements of every other test as well.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not what they call")]

use std::time::Duration;

use e2e::Layout;
use e2e::command::{run, wait_for};
use e2e::control_plane::{apply, kubectl, kubectl_command};
use e2e::deploy::{self, Operator};
use serde_json::{Value, json};

const OPERATOR: Operator<'static> = Operator {
    release: "artstore-everywhere",
    namespace: "artstore-everywhere",
    watched: &[],
    definitions: true,
    tested: None,
};

/// Made after the operator runs, as users do.
const NAMESPACES: [&str; 2] = ["everywhere-one", "everywhere-two"];
const NAME: &str = "storage-everywhere";

/// Generous: a slow machine starts a pod within it.
const PATIENCE: Duration = Duration::from_secs(300);

fn clear(layout: &Layout) {
    remove(layout, &NAMESPACES);
    OPERATOR.uninstall(layout).unwrap();
    remove(layout, &[OPERATOR.namespace]);
}

fn remove(layout: &Layout, namespaces: &[&str]) {
    let mut delete = kubectl_command(layout).unwrap();
    delete.args(["delete", "namespace", "--ignore-not-found", "--timeout=300s"]);
    run(delete.args(namespaces)).unwrap();
}

fn make(layout: &Layout, namespace: &str) {
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let object = |version: &str, kind: &str, metadata: Value, spec: Value| {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        apply(layout, &object.to_string()).unwrap();
    };
    let metadata = json!({"name": namespace, "labels": restricted});
    object("v1", "Namespace", metadata, json!({}));
    deploy::secrets(layout, namespace).unwrap();
    let spec = json!({
        "mode": "edit",
        "storage": {"local": {"size": "64Mi"}},
        "database": {"embedded": {}},
        "auth": {"publicKeySecretRef": {"name": deploy::AUTH_SECRET, "key": "public.pem"}},
        "deletionPolicy": "Delete",
    });
    let metadata = json!({"name": NAME, "namespace": namespace});
    object("artstore.dev/v1alpha1", "StorageElement", metadata, spec);
}

#[test]
fn operator_of_the_default_values_looks_after_every_namespace() {
    let layout = Layout::of_this_machine().unwrap();
    clear(&layout);
    OPERATOR.install(&layout).unwrap();
    for namespace in NAMESPACES {
        make(&layout, namespace);
    }
    for namespace in NAMESPACES {
        wait_for("a ready element", PATIENCE, || {
            let element = deploy::object(&layout, namespace, "storageelement", NAME)?;
            let status = deploy::condition(&element, "Ready").and_then(|ready| ready.get("status"));
            Ok(status == Some(&json!("True")))
        })
        .unwrap();
    }
    // Their operator lets them go, which takes its rights to delete in every namespace.
    for namespace in NAMESPACES {
        let how = ["delete", "storageelement", NAME, "-n", namespace, "--timeout=300s"];
        kubectl(&layout, how).unwrap();
        let volumes = deploy::objects(&layout, namespace, "persistentvolumeclaims").unwrap();
        assert!(
            volumes
                .iter()
                .all(|volume| volume.pointer("/metadata/deletionTimestamp").is_some()),
            "{volumes:?}"
        );
    }
    clear(&layout);
}
