//! What stands in the way of an element: told in a condition and one Event, and over without a nudge.

use std::fmt::Debug;

use artstore_crds::{StorageElement, StorageFleet};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::database::proxy::Proxy;
use crate::database::scene;
use crate::world::{NAME, Operator, World, with_world};

#[tokio::test]
async fn missing_credentials_are_told_once_and_recovered_from() {
    with_world(async |world| {
        world
            .api::<Secret>()
            .delete("postgres-admin", &DeleteParams::default())
            .await
            .unwrap();
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        let message = world.ready("False", "SecretNotFound").await;
        assert!(message.contains("Secret postgres-admin does not exist"), "{message}");
        world.condition("Stalled", "True", "SecretNotFound").await;
        operator.rounds(world, 3).await;
        world.told(&["SecretNotFound"]).await;
        world.credentials().await;
        world.ready("True", "Serving").await;
        world.told(&["SecretNotFound", "Serving"]).await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn wrong_credentials_are_told_and_recovered_from() {
    with_world(async |world| {
        let secrets = world.api::<Secret>();
        secrets
            .delete("postgres-admin", &DeleteParams::default())
            .await
            .unwrap();
        world
            .secret("postgres-admin", json!({"username": "nobody", "password": "hunter2"}))
            .await;
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        let message = world.ready("False", "CredentialsRefused").await;
        assert!(message.contains("nobody") && !message.contains("hunter2"), "{message}");
        operator.rounds(world, 3).await;
        world.told(&["CredentialsRefused"]).await;
        secrets
            .delete("postgres-admin", &DeleteParams::default())
            .await
            .unwrap();
        world.credentials().await;
        world.ready("True", "Serving").await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn missing_fleet_is_told_and_recovered_from() {
    with_world(async |world| {
        let fleets = world.api::<StorageFleet>();
        fleets.delete("main", &DeleteParams::default()).await.unwrap();
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        let message = world.ready("False", "FleetNotFound").await;
        assert!(message.contains("StorageFleet main"), "{message}");
        world.fleet().await;
        world.ready("True", "Serving").await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn unreachable_server_is_told_once_and_recovered_from_without_a_nudge() {
    with_world(async |world| {
        // Bound, and nobody listens yet: who comes is refused, and no other program gets the port.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let server = json!({"host": address.ip(), "port": address.port()});
        let patch = Patch::Merge(json!({"spec": {"database": {"postgres": server}}}));
        let fleets = world.api::<StorageFleet>();
        fleets.patch("main", &PatchParams::default(), &patch).await.unwrap();
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        let message = world.ready("False", "DatabaseUnreachable").await;
        assert!(message.contains(&address.to_string()), "{message}");
        let advice = "check host, port, sslMode and that the server runs; the operator tries again by itself";
        assert!(message.contains(advice), "{message}");

        // The last change of an object: from here on the operator comes back by itself or not at all.
        world.condition("VolumeReady", "True", "Bound").await;
        operator.rounds(world, 3).await;
        world.told(&["DatabaseUnreachable"]).await;
        let _door = Proxy::open_for_good(socket.listen(16).unwrap(), &scene::admin());
        world.ready("True", "Serving").await;
        world.told(&["DatabaseUnreachable", "Serving"]).await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn database_of_another_element_is_refused_and_its_owner_named() {
    with_world(async |other| {
        with_world(async |world| {
            let (first, second) = (Operator::start(other), Operator::start(world));
            other.make::<StorageElement>(other.element(json!({}))).await;
            other.ready("True", "Serving").await;
            world
                .make::<StorageElement>(world.element(json!({"elementId": other.id})))
                .await;
            let message = world.ready("False", "OwnedByOther").await;
            assert!(message.contains(&format!("{}/{NAME}", other.namespace)), "{message}");
            world.told(&["OwnedByOther"]).await;
            assert_eq!(other.status().await.phase, Some(artstore_crds::Phase::Ready));

            // What is refused is not dropped either.
            world.patch_element(json!({"spec": {"deletionPolicy": "Delete"}})).await;
            world.delete_element().await;
            world.gone::<StorageElement>(NAME).await;
            assert_eq!(other.databases().await.len(), 2);
            first.stop().await;
            second.stop().await;
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn objects_of_others_are_not_taken_over() {
    with_world(async |world| {
        world.secret(&format!("{NAME}-db"), json!({"username": "mine"})).await;
        let operator = Operator::start(world);
        world
            .make::<StorageElement>(world.element(json!({"deletionPolicy": "Delete"})))
            .await;
        let message = world.ready("False", "NameTaken").await;
        assert!(message.contains(&format!("Secret {NAME}-db")), "{message}");
        world
            .api::<Secret>()
            .delete(&format!("{NAME}-db"), &DeleteParams::default())
            .await
            .unwrap();
        world.ready("True", "Serving").await;
        operator.stop().await;
    })
    .await;
    with_world(async |world| {
        world
            .make::<PersistentVolumeClaim>(json!({
                "metadata": {"name": format!("{NAME}-data")},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                    "storageClassName": world.namespace,
                },
            }))
            .await;
        world
            .make::<Service>(
                json!({"metadata": {"name": NAME}, "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}}),
            )
            .await;
        let operator = Operator::start(world);
        world
            .make::<StorageElement>(world.element(json!({"deletionPolicy": "Delete"})))
            .await;
        let message = world.ready("False", "NameTaken").await;
        assert!(
            message.contains(&format!("PersistentVolumeClaim {NAME}-data")),
            "{message}"
        );
        world.delete_element().await;
        world.gone::<StorageElement>(NAME).await;
        assert!(
            world
                .api::<PersistentVolumeClaim>()
                .get_opt(&format!("{NAME}-data"))
                .await
                .unwrap()
                .is_some()
        );
        let service = world.api::<Service>().get(NAME).await.unwrap();
        assert!(service.owner_references().is_empty() && service.spec.unwrap().ports.unwrap().len() == 1);
        operator.stop().await;
    })
    .await;
}

/// Waits until the element says that this object's name is taken, and lets go of the name.
async fn refused<K>(world: &World, name: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let object = format!("{} {name} exists", K::kind(&()));
    world
        .until(&object, async || {
            let conditions = world.status().await.conditions;
            let taken =
                |it: &Condition| it.type_ == "Ready" && it.reason == "NameTaken" && it.message.contains(&object);
            conditions.iter().any(taken).then_some(())
        })
        .await;
    let found = world.api::<K>().get(name).await.unwrap();
    assert!(
        found.labels().is_empty() && found.owner_references().is_empty(),
        "{object}"
    );
    world.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn objects_of_others_are_refused_also_where_they_fit() {
    with_world(async |world| {
        world.make::<ServiceAccount>(json!({"metadata": {"name": NAME}})).await;
        let config = format!("{NAME}-config");
        world
            .make::<ConfigMap>(json!({"metadata": {"name": config}, "data": {"mine": "x"}}))
            .await;
        let service = json!({"metadata": {"name": NAME}, "spec": {"ports": [{"name": "mine", "port": 80}]}});
        world.make::<Service>(service).await;
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        refused::<ServiceAccount>(world, NAME).await;
        refused::<ConfigMap>(world, &config).await;
        refused::<Service>(world, NAME).await;
        world.ready("True", "Serving").await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn pod_is_left_alone_while_its_volume_is_being_deleted() {
    with_world(async |world| {
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        world.ready("True", "Serving").await;
        let (name, volumes) = (format!("{NAME}-data"), world.api::<PersistentVolumeClaim>());
        let held = |by: Value| Patch::Merge(json!({"metadata": {"finalizers": by}}));
        let params = PatchParams::default();
        // Stands for the node's use of the volume.
        volumes
            .patch(&name, &params, &held(json!(["artstore.dev/test"])))
            .await
            .unwrap();
        let before = volumes.delete(&name, &DeleteParams::default()).await.unwrap();
        world.condition("VolumeReady", "False", "VolumeDeleting").await;
        world.condition("Stalled", "True", "VolumeDeleting").await;

        world.patch_element(json!({"spec": {"image": "other:1"}})).await;
        let message = world.ready("False", "VolumeDeleting").await;
        assert!(message.contains("back them up first"), "{message}");
        operator.rounds(world, 2).await;
        let image = async || {
            let workload = world.api::<Deployment>().get(NAME).await.unwrap();
            workload.spec?.template.spec?.containers[0].image.clone()
        };
        assert_eq!(image().await.as_deref(), Some("artstore-element:test"));

        volumes.patch(&name, &params, &held(Value::Null)).await.unwrap();
        world.ready("True", "Serving").await;
        assert_eq!(image().await.as_deref(), Some("other:1"));
        let after = volumes.get(&name).await.unwrap();
        assert_ne!(after.uid(), before.left().and_then(|volume| volume.uid()));
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn bad_change_leaves_the_running_element_alone() {
    with_world(async |world| {
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        world.ready("True", "Serving").await;
        world
            .patch_element(json!({"spec": {"image": "other:1", "auth": {"publicKeySecretRef": {"name": "none"}}}}))
            .await;
        world.ready("False", "SecretNotFound").await;
        let config = world.api::<ConfigMap>().get(&format!("{NAME}-config")).await.unwrap();
        assert_eq!(config.metadata.deletion_timestamp, None);
        let status = world.status().await;
        assert_eq!((status.replicas, status.ready_replicas), (Some(1), Some(1)));
        world
            .patch_element(json!({"spec": {"image": null, "auth": null}}))
            .await;
        world.ready("True", "Serving").await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn blocked_deletion_says_why_and_can_be_forced() {
    with_world(async |world| {
        let operator = Operator::start(world);
        world
            .make::<StorageElement>(world.element(json!({"deletionPolicy": "Delete"})))
            .await;
        world.ready("True", "Serving").await;
        world
            .api::<Secret>()
            .delete("postgres-admin", &DeleteParams::default())
            .await
            .unwrap();
        world.delete_element().await;
        let message = world.ready("False", "SecretNotFound").await;
        assert!(message.contains("postgres-admin"), "{message}");
        world
            .api::<StorageFleet>()
            .delete("main", &DeleteParams::default())
            .await
            .unwrap();
        let message = world.ready("False", "DeletionBlocked").await;
        assert!(message.contains("artstore.dev/force-finalize"), "{message}");

        world
            .patch_element(json!({"metadata": {"annotations": {"artstore.dev/force-finalize": "true"}}}))
            .await;
        world.gone::<StorageElement>(NAME).await;
        assert_eq!(world.events().await.last().map(String::as_str), Some("LeftBehind"));
        assert_eq!(world.databases().await.len(), 2);
        assert!(
            world
                .api::<Secret>()
                .get_opt(&format!("{NAME}-db"))
                .await
                .unwrap()
                .is_some()
        );
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn element_that_never_came_to_anything_is_deleted_at_once() {
    with_world(async |world| {
        world
            .api::<StorageFleet>()
            .delete("main", &DeleteParams::default())
            .await
            .unwrap();
        let operator = Operator::start(world);
        world
            .make::<StorageElement>(world.element(json!({"deletionPolicy": "Delete"})))
            .await;
        world.ready("False", "FleetNotFound").await;
        world.delete_element().await;
        world.gone::<StorageElement>(NAME).await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn namespace_that_goes_takes_its_elements_along() {
    with_world(async |world| {
        let operator = Operator::start(world);
        world.make::<StorageElement>(world.element(json!({}))).await;
        world.ready("True", "Serving").await;
        let namespaces = Api::<Namespace>::all(world.client.clone());
        namespaces
            .delete(&world.namespace, &DeleteParams::default())
            .await
            .unwrap();
        world
            .until("the namespace gone", async || {
                namespaces
                    .get_opt(&world.namespace)
                    .await
                    .unwrap()
                    .is_none()
                    .then_some(())
            })
            .await;
        operator.stop().await;
    })
    .await;
}
