//! An element from its creation to its end.

use artstore_crds::StorageElement;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::world::{NAME, Operator, World, with_world};

async fn serving(world: &World, spec: serde_json::Value) -> Operator {
    let operator = Operator::start(world);
    world.make::<StorageElement>(world.element(spec)).await;
    world.ready("True", "Serving").await;
    operator
}

#[tokio::test]
async fn new_element_gets_all_it_needs_in_few_writes() {
    with_world(async |world| {
        let operator = serving(world, json!({})).await;
        let database = format!("artstore_storage_{}", world.id);
        assert_eq!(
            world.databases().await,
            [format!("database {database}"), format!("role {database}")]
        );
        let status = world.status().await;
        let owner = status.database.as_ref().and_then(|database| database.owner.clone());
        assert_eq!(owner, Some(format!("{}/{NAME}", world.namespace)));
        assert_eq!(
            status.endpoint,
            Some(format!("http://{NAME}.{}.svc:8010", world.namespace))
        );
        world.told(&["Serving"]).await;
        let log = operator.script.log();
        let elements: Vec<_> = log
            .iter()
            .filter(|step| !step.contains("StorageFleet") && *step != "database made")
            .collect();
        assert!(elements.len() <= 7 + 4, "{elements:#?}");
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn embedded_element_gets_no_database() {
    with_world(async |world| {
        let operator = serving(world, json!({"database": {"embedded": {}}})).await;
        assert!(world.databases().await.is_empty());
        assert!(
            world
                .api::<Secret>()
                .get_opt(&format!("{NAME}-db"))
                .await
                .unwrap()
                .is_none()
        );
        let workload = world.api::<Deployment>().get(NAME).await.unwrap();
        let environment = workload.spec.unwrap().template.spec.unwrap().containers[0]
            .env
            .clone()
            .unwrap();
        assert!(
            !environment.iter().any(|variable| variable.name == "DB_HOST"),
            "{environment:?}"
        );
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn settled_element_brings_no_writes_also_after_a_restart() {
    with_world(async |world| {
        let spec =
            json!({"resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": "1.5Gi"}}});
        let operator = serving(world, spec).await;
        operator.rounds(world, 3).await;
        let (versions, steps) = (world.versions().await, operator.script.log());
        operator.rounds(world, 3).await;
        assert_eq!(operator.script.log(), steps);
        operator.stop().await;

        let operator = Operator::start(world);
        operator.rounds(world, 5).await;
        assert_eq!(operator.script.log(), Vec::<String>::new());
        assert_eq!(world.versions().await, versions);
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn deleted_child_comes_back_and_changed_one_is_set_right() {
    with_world(async |world| {
        let operator = serving(world, json!({})).await;
        let services = world.api::<Service>();
        let before = services.get(NAME).await.unwrap().uid();
        services.delete(NAME, &DeleteParams::default()).await.unwrap();
        world
            .until("another Service", async || {
                let service = services.get_opt(NAME).await.unwrap()?;
                (service.uid() != before).then_some(())
            })
            .await;

        let workloads = world.api::<Deployment>();
        let drift = json!({"spec": {"template": {"spec": {"containers": [{"name": "element", "image": "other:1"}]}}}});
        workloads
            .patch(NAME, &PatchParams::default(), &Patch::Strategic(drift))
            .await
            .unwrap();
        world
            .until("the image set right", async || {
                let workload = workloads.get(NAME).await.unwrap();
                let image = workload.spec?.template.spec?.containers[0].image.clone()?;
                (image == "artstore-element:test").then_some(())
            })
            .await;
        world.ready("True", "Serving").await;
        // Whether the wrong pod was up for long enough to be told of is a matter of chance.
        world
            .until("both repairs told", async || {
                let told = world.events().await;
                (told.iter().filter(|reason| *reason == "DriftRepaired").count() == 2).then_some(())
            })
            .await;
        operator.stop().await;
    })
    .await;
}

/// Whether the operator has all its fields by applying them, so that those it no longer applies go.
fn is_applied(object: &impl ResourceExt) -> bool {
    let entries = object.managed_fields().iter();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some("artstore-operator"));
    ours.map(|entry| entry.operation.as_deref()).eq([Some("Apply")])
}

#[tokio::test]
async fn what_an_older_version_applied_and_this_one_does_not_want_goes() {
    with_world(async |world| {
        let operator = serving(world, json!({})).await;
        let (configs, name) = (world.api::<ConfigMap>(), format!("{NAME}-config"));
        let mut config = configs.get(&name).await.unwrap();
        let volume = world.api::<PersistentVolumeClaim>().get(&format!("{NAME}-data")).await;
        assert!(is_applied(&config));
        assert!(is_applied(&volume.unwrap()));
        assert!(is_applied(&world.api::<Service>().get(NAME).await.unwrap()));
        assert!(is_applied(&world.api::<ServiceAccount>().get(NAME).await.unwrap()));
        assert!(is_applied(&world.api::<Deployment>().get(NAME).await.unwrap()));
        operator.stop().await;

        config.metadata.managed_fields = None;
        config.metadata.resource_version = None;
        config
            .annotations_mut()
            .insert("artstore.dev/applied".to_owned(), "older".to_owned());
        config.data.as_mut().unwrap().insert("older".to_owned(), "x".to_owned());
        let older = PatchParams::apply("artstore-operator").force();
        configs.patch(&name, &older, &Patch::Apply(&config)).await.unwrap();

        let operator = Operator::start(world);
        world
            .until("the older field gone", async || {
                let data = configs.get(&name).await.unwrap().data.unwrap();
                (!data.contains_key("older")).then_some(())
            })
            .await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn change_of_mode_changes_the_file_and_not_the_pod() {
    with_world(async |world| {
        let operator = serving(world, json!({"mode": "rw"})).await;
        let file = async || {
            let config = world.api::<ConfigMap>().get(&format!("{NAME}-config")).await.unwrap();
            let text = config.data.unwrap()["mode.json"].clone();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let (before, template) = (file().await, template(world).await);
        assert_eq!(before["mode"], "rw");
        world.patch_element(json!({"spec": {"mode": "ro"}})).await;
        let after = world
            .until("mode ro", async || {
                Some(file().await).filter(|file| file["mode"] == "ro")
            })
            .await;
        assert!(
            after["generation"].as_i64() > before["generation"].as_i64(),
            "{before} {after}"
        );
        world.ready("True", "Serving").await;
        assert_eq!(self::template(world).await, template);
        operator.stop().await;
    })
    .await;
}

async fn template(world: &World) -> serde_json::Value {
    let workload = world.api::<Deployment>().get(NAME).await.unwrap();
    serde_json::to_value(workload.spec.unwrap().template).unwrap()
}

#[tokio::test]
async fn paused_element_is_left_alone() {
    with_world(async |world| {
        let operator = serving(world, json!({})).await;
        world.patch_element(json!({"spec": {"paused": true}})).await;
        world.condition("Paused", "True", "Paused").await;
        world
            .api::<Service>()
            .delete(NAME, &DeleteParams::default())
            .await
            .unwrap();
        operator.rounds(world, 5).await;
        assert!(world.api::<Service>().get_opt(NAME).await.unwrap().is_none());
        world.patch_element(json!({"spec": {"paused": null}})).await;
        world
            .until("a Service", async || {
                world.api::<Service>().get_opt(NAME).await.unwrap()
            })
            .await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn stopped_element_has_no_pods_and_is_not_stalled() {
    with_world(async |world| {
        let operator = serving(world, json!({})).await;
        world.patch_element(json!({"spec": {"replicas": 0}})).await;
        world.ready("False", "Stopped").await;
        world.condition("Reconciling", "False", "Settled").await;
        world.patch_element(json!({"spec": {"replicas": 1}})).await;
        world.ready("True", "Serving").await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn retained_element_is_taken_up_again() {
    with_world(async |world| {
        let operator = serving(world, json!({})).await;
        let kept = async || {
            let secret = world.api::<Secret>().get(&format!("{NAME}-db")).await.unwrap();
            let volume = world
                .api::<PersistentVolumeClaim>()
                .get(&format!("{NAME}-data"))
                .await
                .unwrap();
            (secret.uid(), secret.data, volume.uid())
        };
        let (before, databases) = (kept().await, world.databases().await);
        world.delete_element().await;
        world.gone::<StorageElement>(NAME).await;
        assert_eq!(
            (kept().await, world.databases().await),
            (before.clone(), databases.clone())
        );
        assert!(world.events().await.contains(&"Retained".to_owned()));

        world.make::<StorageElement>(world.element(json!({}))).await;
        world.ready("True", "Serving").await;
        assert_eq!((kept().await, world.databases().await), (before, databases));
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn deleted_element_leaves_nothing() {
    with_world(async |world| {
        let operator = serving(world, json!({"deletionPolicy": "Delete"})).await;
        world.delete_element().await;
        world.gone::<StorageElement>(NAME).await;
        world.gone::<PersistentVolumeClaim>(&format!("{NAME}-data")).await;
        world.gone::<Secret>(&format!("{NAME}-db")).await;
        world.gone::<Secret>(&format!("{NAME}-admin")).await;
        world.gone::<Service>(NAME).await;
        assert!(world.databases().await.is_empty());
        assert!(world.events().await.contains(&"Removed".to_owned()));
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn namespaces_of_others_are_not_looked_at() {
    with_world(async |world| {
        let operator = Operator::start(world);
        let namespace = "default";
        let elsewhere = Api::<StorageElement>::namespaced(world.client.clone(), namespace);
        let mut object = world.element(json!({"paused": true}));
        object["metadata"]["name"] = json!(world.id);
        let object = serde_json::from_value(object).unwrap();
        elsewhere
            .create(&kube::api::PostParams::default(), &object)
            .await
            .unwrap();
        world.make::<StorageElement>(world.element(json!({}))).await;
        world.ready("True", "Serving").await;
        let untouched = elsewhere.get(&world.id).await.unwrap();
        elsewhere.delete(&world.id, &DeleteParams::default()).await.unwrap();
        assert!(untouched.status.is_none() && untouched.finalizers().is_empty());
        operator.stop().await;
    })
    .await;
}
