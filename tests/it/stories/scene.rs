//! Where the stories play: an operator for all of them, and a namespace for each. The names are fixed, so that the next run
//! finds and removes what a killed one left.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy knows test functions, not what they call"
)]

use std::sync::LazyLock;

use e2e::control_plane::{apply, kubectl_command};
use e2e::deploy::{self, Operator};
use serde_json::json;

use crate::cluster::{CLUSTER, kubectl, sql};

/// The element that `helm test` tries: its namespace, its name, and where it answers.
pub(crate) const TESTED: (&str, &str, &str) = (
    "stories-helm",
    "storage-story-helm",
    "http://storage-story-helm.stories-helm.svc:8010",
);

/// The namespace of each story.
const NAMESPACES: [&str; 8] = [
    "stories-serves",
    "stories-owner",
    "stories-intruder",
    "stories-credentials",
    "stories-mode",
    "stories-deletion",
    "stories-restricted",
    TESTED.0,
];

/// A release of its own beside any other: it looks after the stories only, and leaves the definitions alone.
pub(crate) const OPERATOR: Operator<'static> = Operator {
    release: "artstore-stories",
    namespace: "artstore-stories",
    watched: &NAMESPACES,
    definitions: false,
    tested: Some(TESTED.2),
};

/// Whether everything is in place; a panic would reach the other stories without its message.
static INSTALLED: LazyLock<Result<(), String>> = LazyLock::new(|| {
    std::panic::catch_unwind(install).map_err(|_| "the operator was not installed; another story tells why".to_owned())
});

fn install() {
    let definitions = CLUSTER.checkout().join("crds/yaml").display().to_string();
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &definitions]);
    kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "-f",
        &definitions,
    ]);
    clear();
    for name in NAMESPACES.into_iter().chain([OPERATOR.namespace]) {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        apply(&CLUSTER, &namespace.to_string()).unwrap();
    }
    OPERATOR.install(&CLUSTER).unwrap();
}

/// Removes what an earlier run left.
fn clear() {
    OPERATOR.uninstall(&CLUSTER).unwrap();
    for namespace in NAMESPACES {
        // Their operator is gone, and nobody else would ever let them go.
        for element in kubectl(&["get", "storageelements", "-n", namespace, "-o", "name"]).lines() {
            let no_finalizers = r#"{"metadata": {"finalizers": null}}"#;
            kubectl(&["patch", element, "-n", namespace, "--type=merge", "-p", no_finalizers]);
        }
    }
    let delete = ["delete", "namespace", OPERATOR.namespace];
    let how = ["--ignore-not-found", "--timeout=300s"];
    kubectl(&[delete.as_slice(), &NAMESPACES, &how].concat());
    for name in sql(r"SELECT datname FROM pg_database WHERE datname LIKE 'artstore\_storage\_story\_%'").lines() {
        sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
    }
    for name in sql(r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'artstore\_storage\_story\_%'").lines() {
        sql(&format!("DROP ROLE {name}"));
    }
}

/// One story's namespace, which refuses pods below the restricted standard, with a fleet and the Secrets it names.
pub(crate) struct Scene(pub(crate) &'static str);

impl Scene {
    /// Sets the scene, with the operator in place. `admin` names the Secret of PostgreSQL's administrator.
    pub(crate) fn set(namespace: &'static str, admin: &str) -> Self {
        assert!(NAMESPACES.contains(&namespace), "{namespace} is not watched");
        assert_eq!(*INSTALLED, Ok(()));
        deploy::secrets(&CLUSTER, namespace).unwrap();
        let scene = Self(namespace);
        scene.apply(
            "StorageFleet",
            "main",
            json!({
                "database": {"postgres": {"host": "postgres.artstore-infra.svc", "adminSecretRef": {"name": admin}}},
                "auth": {"publicKeySecretRef": {"name": deploy::AUTH_SECRET, "key": "public.pem"}},
            }),
        );
        scene
    }

    /// An element of the fleet; `more` is merged into its spec.
    pub(crate) fn element(&self, name: &str, more: serde_json::Value) {
        let mut spec = json!({
            "fleetRef": {"name": "main"},
            "mode": "edit",
            "storage": {"local": {"size": "64Mi"}},
            "deletionPolicy": "Delete",
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        self.apply("StorageElement", name, spec);
    }

    fn apply(&self, kind: &str, name: &str, spec: serde_json::Value) {
        let object = json!({
            "apiVersion": "artstore.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.0},
            "spec": spec,
        });
        apply(&CLUSTER, &object.to_string()).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let quietly = |arguments: &[&str]| {
            kubectl_command(&CLUSTER).and_then(|mut kubectl| Ok(kubectl.args(arguments).output()?))
        };
        if std::thread::panicking() {
            let kinds = "storageelements,storagefleets,pods,pvc,deployments,events";
            for arguments in [
                ["get", kinds, "-n", self.0, "-o", "wide"].as_slice(),
                &["get", "storageelements", "-n", self.0, "-o", "yaml"],
                &[
                    "logs",
                    "-n",
                    self.0,
                    "-l",
                    "app.kubernetes.io/component=element",
                    "--tail=30",
                ],
                &[
                    "logs",
                    "-n",
                    OPERATOR.namespace,
                    "-l",
                    "app.kubernetes.io/component=operator",
                    "--tail=60",
                ],
            ] {
                if let Ok(output) = quietly(arguments) {
                    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
                }
            }
        }
        // Elements go while the fleet, the Secrets and the operator's rights are still there; what stays all the same is
        // removed by the next run.
        for arguments in [
            ["delete", "storageelements", "--all", "-n", self.0, "--timeout=120s"].as_slice(),
            &["delete", "namespace", self.0, "--wait=false"],
        ] {
            if let Err(error) = quietly(arguments) {
                eprintln!("{error:#}");
            }
        }
    }
}
