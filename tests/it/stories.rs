//! What users do, on the local cluster, with the operator installed by its chart and elements in real pods.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy knows test functions, not what they call"
)]
#![allow(
    clippy::await_holding_lock,
    reason = "each test has a thread and a runtime of its own, so nobody waits for the lock's holder on its own thread"
)]

mod scene;

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::client::{Client, Problem};
use e2e::command::wait_for;
use e2e::deploy::{self, objects};
use e2e::{control_plane, infra};
use element_api::ErrorCode;
use serde_json::{Value, json};

use self::scene::{OPERATOR, Scene, TESTED};
use crate::cluster::{CLUSTER, kubectl, shared, sql};

/// Generous: only a broken operator or cluster reaches it.
const LIMIT: Duration = Duration::from_secs(300);

fn get(namespace: &str, kind: &str, name: &str) -> Value {
    deploy::object(&CLUSTER, namespace, kind, name).unwrap()
}

/// Waits until a condition is what it should be for the newest spec, and returns it.
fn until(namespace: &str, name: &str, kind: &str, status: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    let waited = wait_for(&format!("{kind}={status}, {reason}, of {name}"), LIMIT, || {
        let element = deploy::object(&CLUSTER, namespace, "storageelement", name)?;
        last = deploy::condition(&element, kind).cloned().unwrap_or_default();
        Ok(last["status"] == status && last["reason"] == reason)
    });
    assert!(waited.is_ok(), "{waited:?}: {last}");
    last
}

fn until_ready(namespace: &str, name: &str) {
    until(namespace, name, "Ready", "True", "Serving");
}

async fn client(namespace: &str, name: &str) -> Client {
    let address = deploy::service_address(&CLUSTER, namespace, name).unwrap();
    let key = deploy::signing_key(&CLUSTER).unwrap();
    Client::connect(name, &address, &key).await.unwrap()
}

/// The one pod of a namespace: its identity and how often its container was started again.
fn pod(namespace: &str) -> (Value, Value) {
    let pods = objects(&CLUSTER, namespace, "pods").unwrap();
    assert_eq!(pods.len(), 1, "{pods:?}");
    let restarts = &pods[0]["status"]["containerStatuses"][0]["restartCount"];
    (pods[0]["metadata"]["uid"].clone(), restarts.clone())
}

fn delete_element(namespace: &str, name: &str) {
    kubectl(&["delete", "storageelement", name, "-n", namespace, "--timeout=300s"]);
}

/// Everything in a namespace that an element may be made of, and the volumes behind it.
fn everything(namespace: &str) -> BTreeSet<String> {
    let kinds = "pvc,deployments,replicasets,pods,services,configmaps,serviceaccounts,secrets";
    let listed = kubectl(&["get", kinds, "-n", namespace, "-o", "name"]);
    let volumes: Value = serde_json::from_str(&kubectl(&["get", "pv", "-o", "json"])).unwrap();
    let volumes = volumes["items"].as_array().unwrap().iter();
    let volumes = volumes.filter(|volume| volume["spec"]["claimRef"]["namespace"] == namespace);
    listed
        .lines()
        .map(str::to_owned)
        .chain(volumes.map(|volume| format!("volume of {}", volume["spec"]["claimRef"]["name"].as_str().unwrap())))
        .collect()
}

/// Waits until a namespace holds what it held `before` and these; what the garbage collector removes takes its time.
fn until_left(namespace: &str, before: &BTreeSet<String>, more: &[&str]) {
    let mut expected = before.clone();
    expected.extend(more.iter().map(|name| (*name).to_owned()));
    let mut last = BTreeSet::new();
    let waited = wait_for("what is left", LIMIT, || {
        last = everything(namespace);
        Ok(last == expected)
    });
    assert!(waited.is_ok(), "{last:?} instead of {expected:?}");
}

/// How many databases and roles there are of that name.
fn count_in_postgres(name: &str) -> String {
    sql(&format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{name}'),
                (SELECT count(*) FROM pg_roles WHERE rolname = '{name}')"
    ))
}

#[tokio::test]
async fn applied_element_serves_files_that_survive_the_loss_of_its_pod() {
    let _shared = shared();
    let scene = Scene::set("stories-serves", infra::ADMIN_SECRET);
    let (place, name) = (scene.0, "storage-story-serves");
    scene.element(name, json!({}));
    until_ready(place, name);
    assert_eq!(count_in_postgres("artstore_storage_story_serves"), "1|1");
    let database = &get(place, "storageelement", name)["status"]["database"];
    assert_eq!(database["name"], "artstore_storage_story_serves");
    assert_eq!(database["tablePrefix"], "storage_elem_story_serves_");
    let client = client(place, name).await;
    let stored = client.store("отчёт.txt", b"kept for years").await.unwrap();
    assert_eq!(stored.original_filename, "отчёт.txt");
    let (first, _) = pod(place);
    kubectl(&["delete", "pods", "-n", place, "--all"]);
    wait_for("another pod", LIMIT, || {
        let pods = objects(&CLUSTER, place, "pods")?;
        let is_new =
            |pod: &Value| pod["metadata"]["uid"] != first && pod["status"]["containerStatuses"][0]["ready"] == true;
        Ok(pods.iter().any(is_new))
    })
    .unwrap();
    let read = client.read_until_served(stored.file_id, LIMIT).await;
    assert_eq!(read.unwrap(), b"kept for years");
    assert!(client.search("отчёт").await.unwrap().contains(&stored.file_id));
}

#[tokio::test]
async fn database_of_another_element_is_refused_by_its_name() {
    let _shared = shared();
    let owner = Scene::set("stories-owner", infra::ADMIN_SECRET);
    let intruder = Scene::set("stories-intruder", infra::ADMIN_SECRET);
    let name = "storage-story-claimed";
    owner.element(name, json!({}));
    until_ready(owner.0, name);
    let stored = client(owner.0, name).await.store("a.txt", b"mine").await.unwrap();
    let before = everything(intruder.0);
    intruder.element(name, json!({}));
    let refused = until(intruder.0, name, "DatabaseReady", "False", "OwnedByOther");
    let told = refused["message"].as_str().unwrap();
    assert!(told.contains("stories-owner/storage-story-claimed"), "{told}");
    until(intruder.0, name, "Ready", "False", "OwnedByOther");
    until(intruder.0, name, "Stalled", "True", "OwnedByOther");
    delete_element(intruder.0, name);
    until_left(intruder.0, &before, &[]);
    until_ready(owner.0, name);
    assert_eq!(count_in_postgres("artstore_storage_story_claimed"), "1|1");
    let client = client(owner.0, name).await;
    assert_eq!(client.read(stored.file_id).await.unwrap(), b"mine");
    assert!(client.list().await.unwrap().contains(&stored.file_id));
}

#[tokio::test]
async fn wrong_credentials_are_told_and_mended_without_a_nudge() {
    let _shared = shared();
    let scene = Scene::set("stories-credentials", "admin");
    let (place, name) = (scene.0, "storage-story-creds");
    let secret = |field: &str, value: Value| {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "admin", "namespace": place},
            field: value,
        });
        control_plane::apply(&CLUSTER, &secret.to_string()).unwrap();
    };
    scene.element(name, json!({}));
    let missing = until(place, name, "DatabaseReady", "False", "SecretNotFound");
    assert!(missing["message"].as_str().unwrap().contains("admin"), "{missing}");
    secret(
        "stringData",
        json!({"username": "postgres", "password": "not the password"}),
    );
    let wrong = until(place, name, "DatabaseReady", "False", "CredentialsRefused");
    assert!(wrong["message"].as_str().unwrap().contains("adminSecretRef"), "{wrong}");
    let right = get(infra::NAMESPACE, "secret", infra::ADMIN_SECRET);
    secret("data", right["data"].clone());
    until_ready(place, name);
    client(place, name).await.store("a.txt", b"at last").await.unwrap();
    let told = kubectl(&["get", "events,storageelements,storagefleets", "-n", place, "-o", "yaml"]);
    assert!(
        told.contains("CredentialsRefused") && !told.contains("not the password"),
        "{told}"
    );
}

#[tokio::test]
async fn mode_changes_without_a_restart() {
    let _shared = shared();
    let scene = Scene::set("stories-mode", infra::ADMIN_SECRET);
    let (place, name) = (scene.0, "storage-story-mode");
    scene.element(name, json!({"mode": "rw", "database": {"embedded": {}}}));
    until_ready(place, name);
    let client = client(place, name).await;
    let stored = client.store("a.txt", b"a").await.unwrap();
    let before = pod(place);
    scene.element(name, json!({"mode": "ro", "database": {"embedded": {}}}));
    until(place, name, "ModeApplied", "True", "Confirmed");
    assert_eq!(get(place, "storageelement", name)["status"]["mode"]["current"], "ro");
    let refused = client.store("b.txt", b"b").await.unwrap_err();
    let problem: &Problem = refused.downcast_ref().unwrap();
    assert_eq!((problem.status, problem.code), (409, Some(ErrorCode::ModeNotAllowed)));
    assert_eq!(client.read(stored.file_id).await.unwrap(), b"a");
    until_ready(place, name);
    assert_eq!(pod(place), before);
}

#[tokio::test]
async fn retained_element_comes_back_with_its_files_and_deleted_one_leaves_nothing() {
    let _shared = shared();
    let scene = Scene::set("stories-deletion", infra::ADMIN_SECRET);
    let (place, name) = (scene.0, "storage-story-goes");
    let before = everything(place);
    scene.element(name, json!({"deletionPolicy": "Retain"}));
    until_ready(place, name);
    let stored = client(place, name).await.store("a.txt", b"kept").await.unwrap();
    delete_element(place, name);
    let kept = [
        "persistentvolumeclaim/storage-story-goes-data",
        "secret/storage-story-goes-admin",
        "secret/storage-story-goes-db",
        "volume of storage-story-goes-data",
    ];
    until_left(place, &before, &kept);
    assert_eq!(count_in_postgres("artstore_storage_story_goes"), "1|1");
    scene.element(name, json!({"deletionPolicy": "Delete"}));
    until_ready(place, name);
    let client = client(place, name).await;
    let read = client.read_until_served(stored.file_id, LIMIT).await;
    assert_eq!(read.unwrap(), b"kept");
    assert!(client.list().await.unwrap().contains(&stored.file_id));
    delete_element(place, name);
    until_left(place, &before, &[]);
    assert_eq!(count_in_postgres("artstore_storage_story_goes"), "0|0");
}

#[tokio::test]
async fn pod_runs_restricted_without_a_token_of_the_cluster() {
    let _shared = shared();
    let scene = Scene::set("stories-restricted", infra::ADMIN_SECRET);
    let (place, name) = (scene.0, "storage-story-tight");
    scene.element(name, json!({}));
    until_ready(place, name);
    let spec = &objects(&CLUSTER, place, "pods").unwrap()[0]["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    let volumes = spec["volumes"].as_array().unwrap();
    assert!(
        volumes.iter().all(|volume| volume["projected"].is_null()),
        "{volumes:?}"
    );
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    let context = &spec["containers"][0]["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    let version = || {
        let element = get(place, "storageelement", name);
        (element["metadata"]["generation"].clone(), element["spec"].clone())
    };
    let before = version();
    scene.element(name, json!({}));
    assert_eq!(version(), before, "the operator or a default changed the spec");
}

#[tokio::test]
async fn helm_test_uploads_and_downloads_a_file() {
    let _shared = shared();
    let (place, name, _) = TESTED;
    let scene = Scene::set(place, infra::ADMIN_SECRET);
    scene.element(name, json!({"database": {"embedded": {}}}));
    until_ready(place, name);
    let said = OPERATOR.test(&CLUSTER).unwrap();
    assert!(said.contains("Succeeded"), "{said}");
    assert!(said.contains("read it back, equal byte by byte"), "{said}");
}
