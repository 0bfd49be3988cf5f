//! The operator is killed after each of its steps, of a creation and of a deletion; in the end all is as after a quiet run.

use artstore_crds::StorageElement;
use futures::future::join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use crate::world::{NAME, Operator, Script, World, with_world};

/// More worlds than that at a time, and the cluster is what is tested.
const AT_ONCE: usize = 8;

async fn create(world: &World) {
    world
        .make::<StorageElement>(world.element(json!({"deletionPolicy": "Delete"})))
        .await;
}

async fn created(world: &World) -> Value {
    world.ready("True", "Serving").await;
    world.picture().await
}

async fn deleted(world: &World) -> Value {
    world.gone::<StorageElement>(NAME).await;
    world.gone::<PersistentVolumeClaim>(&format!("{NAME}-data")).await;
    world
        .until("nothing left", async || {
            let picture = world.picture().await;
            let empty = picture
                .as_object()?
                .values()
                .all(|value| value.is_null() || *value == json!([]));
            empty.then_some(picture)
        })
        .await
}

/// The steps of the quiet run, and how it ends.
async fn quiet(delete: bool) -> (usize, Value) {
    let (mut steps, mut end) = (0, Value::Null);
    with_world(async |world| {
        let operator = Operator::start(world);
        create(world).await;
        end = created(world).await;
        if delete {
            operator.stop().await;
            let operator = Operator::start(world);
            world.delete_element().await;
            end = deleted(world).await;
            steps = operator.script.log().len();
            operator.stop().await;
        } else {
            steps = operator.script.log().len();
            operator.stop().await;
        }
    })
    .await;
    (steps, end)
}

/// Kills the operator after `step`, lets another finish, and answers with the end.
async fn killed(step: usize, delete: bool) -> Value {
    let mut end = Value::Null;
    with_world(async |world| {
        if delete {
            let operator = Operator::start(world);
            create(world).await;
            created(world).await;
            operator.stop().await;
        }
        let script = Script::stop_after(step);
        let operator = Operator::scripted(world, script.clone());
        if delete {
            world.delete_element().await;
        } else {
            create(world).await;
        }
        let done = async {
            if delete {
                deleted(world).await
            } else {
                created(world).await
            }
        };
        // Runs differ by a step or so: one that ends before the step is reached has ended well.
        tokio::select! {
            () = script.reached() => {}
            _ = done => {}
        }
        operator.kill().await;
        let operator = Operator::start(world);
        end = if delete {
            deleted(world).await
        } else {
            created(world).await
        };
        operator.stop().await;
    })
    .await;
    end
}

async fn kill_after_each_step(delete: bool) {
    let (steps, end) = quiet(delete).await;
    assert!(steps >= if delete { 6 } else { 10 }, "{steps}");
    let all: Vec<_> = (1..=steps).collect();
    for some in all.chunks(AT_ONCE) {
        let ends = join_all(some.iter().map(|step| killed(*step, delete))).await;
        for (step, killed) in some.iter().zip(ends) {
            assert_eq!(killed, end, "killed after step {step}");
        }
    }
}

#[tokio::test]
async fn creation_killed_after_any_step_ends_like_a_quiet_one() {
    kill_after_each_step(false).await;
}

#[tokio::test]
async fn deletion_killed_after_any_step_ends_like_a_quiet_one() {
    kill_after_each_step(true).await;
}
