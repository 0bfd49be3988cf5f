//! The Helm chart: what it renders to, what it refuses, and that the API server takes it, and the examples with it.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not what they call")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

use e2e::{Layout, control_plane, tools};
use serde_json::Value;

use crate::cluster::{CLUSTER, Namespace, kubectl, shared};

/// The values a test may set, one set for each way to install.
const VARIANTS: [&[&str]; 4] = [
    &[],
    &["watchNamespaces={NAMESPACE}", "crds.create=false"],
    &[
        "replicas=2",
        "podDisruptionBudget.create=true",
        "networkPolicy.create=true",
        "networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8",
        "image.tag=other",
        "element.image=localhost/artstore-element:other",
        "podLabels.team=files",
        "tolerations[0].operator=Exists",
        "imagePullSecrets[0].name=registry",
    ],
    &[
        "test.endpoint=http://storage-01.artstore.svc:8010",
        "test.existingSecret=key",
        "test.issuer=https://issuer.example",
    ],
];

/// Without a cluster, helm guesses an old version of Kubernetes.
const TEMPLATE: [&str; 4] = ["template", "artstore-operator", "--kube-version", "1.34.0"];

static HELM: LazyLock<PathBuf> = LazyLock::new(|| tools::HELM.ensure(&Layout::of_this_machine().unwrap()).unwrap());

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn helm(verb: &[&str], namespace: &str, values: &[&str]) -> Output {
    let mut helm = Command::new(HELM.as_path());
    helm.args(verb)
        .arg(repository().join("charts/artstore-operator"))
        .args(["--namespace", namespace]);
    for value in values {
        helm.args(["--set", &value.replace("NAMESPACE", namespace)]);
    }
    helm.output().unwrap()
}

fn render(namespace: &str, values: &[&str]) -> String {
    let output = helm(&TEMPLATE, namespace, values);
    assert!(
        output.status.success(),
        "{values:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn objects(namespace: &str, values: &[&str]) -> Vec<Value> {
    documents(&render(namespace, values))
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The API server is asked to take `manifests`, keeps nothing of them, and finds nothing to say against them.
fn dry_run(what: &str, manifests: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    std::fs::write(&file, manifests).unwrap();
    let mut apply = control_plane::kubectl_command(&CLUSTER).unwrap();
    apply
        .args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f"])
        .arg(&file);
    let output = apply.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Warning"), "{what}: {said}");
}

/// The texts anywhere below `value`.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn lint_finds_nothing() {
    for values in VARIANTS {
        let output = helm(&["lint", "--strict"], "artstore-system", values);
        assert!(
            output.status.success(),
            "{values:?}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn unknown_and_malformed_values_are_refused() {
    for bad in [
        "replica=2",
        "image.name=x",
        "test.url=http://x",
        "replicas=many",
        "log.format=loud",
        "watchNamespaces={Not_A_Name}",
        "test.endpoint=storage-01:8010",
        "test.endpoint=https://storage-01:8010",
    ] {
        assert!(!helm(&TEMPLATE, "artstore-system", &[bad]).status.success(), "{bad}");
    }
}

#[test]
fn no_rule_holds_a_wildcard() {
    let mut rules = 0;
    for values in VARIANTS {
        for object in objects("artstore-system", values)
            .iter()
            .filter(|object| object["rules"].is_array())
        {
            for rule in object["rules"].as_array().unwrap() {
                assert!(!texts(rule).iter().any(|text| text.contains('*')), "{object}");
                assert!(
                    rule["apiGroups"].is_array() && rule["nonResourceURLs"].is_null(),
                    "{object}"
                );
                rules += 1;
            }
        }
    }
    assert!(rules > 20, "only {rules} rules were seen");
}

#[test]
fn watched_namespaces_give_roles_there_and_nothing_cluster_wide() {
    let objects = objects("artstore-system", &["watchNamespaces={one,two}", "crds.create=false"]);
    let places = |kind: &str| -> Vec<String> {
        let of_kind = objects.iter().filter(|object| object["kind"] == kind);
        of_kind
            .map(|object| object["metadata"]["namespace"].as_str().unwrap_or("none").to_owned())
            .collect()
    };
    for kind in ["Role", "RoleBinding"] {
        assert_eq!(places(kind), ["one", "two", "artstore-system"], "{kind}");
    }
    assert!(objects.iter().all(|object| object["metadata"]["namespace"].is_string()));
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    assert!(texts(deployment).contains(&"one,two"));
}

#[test]
fn definitions_are_the_generated_ones_and_outlive_the_release() {
    let generated = repository().join("crds/yaml");
    let copies = repository().join("charts/artstore-operator/files/crds");
    let names = |folder: &PathBuf| -> Vec<_> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&generated), names(&copies), "run `make crds`");
    for name in names(&generated) {
        let read = |folder: &PathBuf| std::fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!(read(&generated), read(&copies), "{name:?}: run `make crds`");
    }
    let objects = objects("artstore-system", &[]);
    let rendered: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .collect();
    assert_eq!(rendered.len(), names(&generated).len());
    for definition in rendered {
        let file = generated.join(format!("{}.yaml", definition["metadata"]["name"].as_str().unwrap()));
        let mut expected: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        expected["metadata"]["annotations"] = serde_json::json!({"helm.sh/resource-policy": "keep"});
        assert_eq!(definition, &expected);
    }
}

#[test]
fn api_server_takes_every_variant_under_the_restricted_standard() {
    let _shared = shared();
    let namespace = Namespace::new("chart");
    let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}=restricted");
    kubectl(&["label", "namespace", &namespace.0, &label("enforce"), &label("warn")]);
    for values in VARIANTS {
        dry_run(&format!("{values:?}"), &render(&namespace.0, values));
    }
}

#[test]
fn api_server_takes_every_example() {
    let _shared = shared();
    let definitions = repository().join("crds/yaml").display().to_string();
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &definitions]);
    let established = "--for=condition=Established";
    kubectl(&["wait", established, "--timeout=60s", "-f", &definitions]);
    let namespace = Namespace::new("examples");
    let mut tried = 0;
    for entry in std::fs::read_dir(repository().join("examples")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        for mut object in documents(&std::fs::read_to_string(&file).unwrap()) {
            let place = if object["kind"] == "Namespace" {
                "name"
            } else {
                "namespace"
            };
            assert_eq!(object["metadata"][place], "artstore", "{}", file.display());
            // In their own namespace a demo may be running.
            object["metadata"][place] = namespace.0.clone().into();
            dry_run(&file.display().to_string(), &object.to_string());
            tried += 1;
        }
    }
    assert!(tried >= 4, "only {tried} examples were seen");
}
