//! What the end of an element means for its database.

use artstore_crds::StorageElement;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::world::{NAME, Operator, World, with_world};

/// The notes of the Events that tell of something deleted.
async fn deleted(world: &World) -> Vec<String> {
    let events = world.api::<Event>().list(&ListParams::default()).await.unwrap().items;
    let removed = events
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some("Removed"));
    removed.filter_map(|event| event.note).collect()
}

#[tokio::test]
async fn element_whose_secret_was_lost_leaves_no_database() {
    with_world(async |world| {
        let operator = Operator::start(world);
        world
            .make::<StorageElement>(world.element(json!({"deletionPolicy": "Delete"})))
            .await;
        world.ready("True", "Serving").await;
        // Paused, so that the Secret is not made again before the deletion.
        world.patch_element(json!({"spec": {"paused": true}})).await;
        world.condition("Paused", "True", "Paused").await;
        let secret = format!("{NAME}-db");
        world
            .api::<Secret>()
            .delete(&secret, &DeleteParams::default())
            .await
            .unwrap();
        world.gone::<Secret>(&secret).await;
        world.delete_element().await;
        world.patch_element(json!({"spec": {"paused": null}})).await;
        world.gone::<StorageElement>(NAME).await;
        assert!(world.databases().await.is_empty());
        let told = deleted(world).await;
        let database = format!("deleted: database artstore_storage_{}", world.id);
        assert_eq!(told.iter().filter(|note| **note == database).count(), 1, "{told:?}");
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn database_that_was_not_the_element_s_is_not_told_as_deleted() {
    with_world(async |world| {
        let operator = Operator::start(world);
        world
            .make::<StorageElement>(world.element(json!({"deletionPolicy": "Delete"})))
            .await;
        world.ready("True", "Serving").await;
        let database = format!("artstore_storage_{}", world.id);
        // Somebody took it over: the mark names another uid.
        world
            .sql(&format!(
                "COMMENT ON DATABASE {database} IS '{}'",
                json!({"managedBy": "artstore-operator", "claims": [{
                    "prefix": format!("storage_{}_", world.id), "role": database, "uid": "another",
                    "namespace": world.namespace, "name": NAME,
                }]})
            ))
            .await;
        world.delete_element().await;
        world.gone::<StorageElement>(NAME).await;
        assert!(world.databases().await.contains(&format!("database {database}")));
        let told = deleted(world).await;
        assert!(
            !told.is_empty() && told.iter().all(|note| !note.contains("database")),
            "{told:?}"
        );
        operator.stop().await;
    })
    .await;
}
