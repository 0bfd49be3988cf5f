//! What a real API server admits and refuses. Needs `ARTSTORE_KUBECONFIG`.

use std::collections::BTreeSet;
use std::time::Duration;

use artstore_crds::{StorageElement, StorageFleet};
use element_api::{Mode, Transition};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::cases::{self, Request};

const GENEROUS: Duration = Duration::from_secs(60);

struct Server {
    client: Client,
    namespace: String,
}

impl Server {
    async fn connect() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let path = std::env::var("ARTSTORE_KUBECONFIG")
            .expect("ARTSTORE_KUBECONFIG must name the kubeconfig of a test cluster (`make cluster-up` prints one)");
        let kubeconfig = Kubeconfig::read_from(&path).expect("ARTSTORE_KUBECONFIG must be readable");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        let client = Client::try_from(config).unwrap();
        install(&client).await;
        let namespace = format!("crds-{}", uuid::Uuid::new_v4().simple());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        Self { client, namespace }
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let resource = match object["kind"].as_str() {
            Some("StorageFleet") => ApiResource::erase::<StorageFleet>(&()),
            _ => ApiResource::erase::<StorageElement>(&()),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Asks the server for its decision; nothing is kept.
    async fn decide(&self, request: &Request) -> Result<(), String> {
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let decision = match request {
            Request::Create(object) => {
                self.api(object)
                    .create(&dry_run, &serde_json::from_value(object.clone()).unwrap())
                    .await
            }
            Request::Update { from, to } => {
                let api = self.api(from);
                let before: DynamicObject = serde_json::from_value(from.clone()).unwrap();
                let before = api.create(&PostParams::default(), &before).await.unwrap();
                let mut after: DynamicObject = serde_json::from_value(to.clone()).unwrap();
                after.metadata.resource_version = before.resource_version();
                let decision = api.replace(&before.name_any(), &dry_run, &after).await;
                api.delete(&before.name_any(), &DeleteParams::default()).await.unwrap();
                decision
            }
        };
        match decision {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(other) => panic!("failed to ask the API server: {other}"),
        }
    }

    async fn leave(self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn install(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in artstore_crds::definitions().unwrap() {
        let name = definition.name_any();
        let params = PatchParams::apply("artstore-crds-test").force();
        api.patch(&name, &params, &Patch::Apply(&definition)).await.unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(GENEROUS, established)
            .await
            .expect("the CRD must be established")
            .unwrap();
    }
}

/// The message of every rule in a definition.
fn rules(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                found.insert(
                    rule["message"]
                        .as_str()
                        .expect("every rule must have a message")
                        .to_owned(),
                );
            }
            fields.values().for_each(|inner| rules(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|item| rules(item, found)),
        _ => {}
    }
}

#[test]
fn every_rule_has_a_case() {
    let mut found = BTreeSet::new();
    for definition in artstore_crds::definitions().unwrap() {
        rules(&serde_json::to_value(definition).unwrap(), &mut found);
    }
    let covered: BTreeSet<_> = cases::all().iter().map(|case| case.rule.to_owned()).collect();
    assert_eq!(found, covered);
}

#[tokio::test]
async fn every_rule_admits_and_refuses_as_it_says() {
    let server = Server::connect().await;
    for case in cases::all() {
        let admitted = server.decide(&case.admitted).await;
        assert_eq!(admitted, Ok(()), "must be admitted: {}", case.rule);
        let refused = server.decide(&case.refused).await;
        assert!(
            refused.as_ref().is_err_and(|message| message.contains(case.rule)),
            "{}: {refused:?}",
            case.rule
        );
    }
    server.leave().await;
}

#[tokio::test]
async fn mode_transitions_match_the_element_s_own_matrix() {
    let server = Server::connect().await;
    for from in Mode::ALL {
        for to in Mode::ALL {
            for confirmed in [false, true] {
                let expected = match from.transition_to(to) {
                    Transition::Same | Transition::Allowed => true,
                    Transition::NeedsConfirmation => confirmed,
                    Transition::Forbidden => false,
                };
                let decision = server
                    .decide(&Request::Update {
                        from: cases::element("storage-01", json!({"mode": from})),
                        to: cases::element("storage-01", json!({"mode": to, "confirmModeChange": confirmed})),
                    })
                    .await;
                assert_eq!(
                    decision.is_ok(),
                    expected,
                    "{from} to {to}, confirmed {confirmed}: {decision:?}"
                );
            }
        }
    }
    server.leave().await;
}

#[tokio::test]
async fn malformed_values_are_refused() {
    let server = Server::connect().await;
    for spec in [
        json!({"elementId": "UPPER"}),
        json!({"elementId": "-dash"}),
        json!({"elementId": "x".repeat(21)}),
        json!({"database": {"name": "Files"}}),
        json!({"database": {"name": "x".repeat(64)}}),
        json!({"database": {"tablePrefix": "no_underscore_at_the_end"}}),
        json!({"database": {"tablePrefix": format!("{}_", "x".repeat(34))}}),
        json!({"storage": {"local": {"size": "0"}}}),
        json!({"storage": {"local": {"size": "1.5Gi"}}}),
        json!({"storage": {"local": {"size": "-1Gi"}}}),
        json!({"limits": {"maxFileSize": "lots"}}),
        json!({"mode": "rwx"}),
        json!({"replicas": 2}),
        json!({"replicas": -1}),
        json!({"image": "two words"}),
        json!({"fleetRef": {"name": ""}}),
    ] {
        let decision = server
            .decide(&Request::Create(cases::element("storage-01", spec.clone())))
            .await;
        assert!(decision.is_err(), "must be refused: {spec}");
    }
    server.leave().await;
}

#[tokio::test]
async fn scale_and_mode_selector_work() {
    let server = Server::connect().await;
    let object = cases::element("storage-01", json!({"mode": "rw"}));
    let dynamic = server.api(&object);
    dynamic
        .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();

    let api = Api::<StorageElement>::namespaced(server.client.clone(), &server.namespace);
    let scale = api.get_scale("storage-01").await.unwrap();
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(1));
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    api.patch_scale("storage-01", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(api.get("storage-01").await.unwrap().spec.replicas, 0);

    for (mode, count) in [("rw", 1), ("edit", 0)] {
        let params = kube::api::ListParams::default().fields(&format!("spec.mode={mode}"));
        assert_eq!(api.list(&params).await.unwrap().items.len(), count, "{mode}");
    }
    assert_eq!(StorageElement::plural(&()), "storageelements");
    dynamic.delete("storage-01", &DeleteParams::default()).await.unwrap();
    server.leave().await;
}
