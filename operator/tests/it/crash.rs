//! The operator is killed after each of its steps, of a creation and of a deletion; in the end all is as after a quiet run.

use artstore_crds::StorageElement;
use futures::future::join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use crate::world::{NAME, Operator, Script, World, with_world};

/// More worlds than that at a time, and the cluster is what is tested.
const AT_ONCE: usize = 8;

/// What the operator is killed at.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create,
    /// A deletion that takes everything.
    Delete,
    /// A deletion that keeps volume, Secrets and database.
    Retain,
}

impl Act {
    /// No whole run has fewer.
    const fn fewest_steps(self) -> usize {
        match self {
            Self::Create => 10,
            Self::Delete => 6,
            Self::Retain => 3,
        }
    }

    async fn make_element(self, world: &World) {
        let policy = match self {
            Self::Create | Self::Delete => "Delete",
            Self::Retain => "Retain",
        };
        world
            .make::<StorageElement>(world.element(json!({"deletionPolicy": policy})))
            .await;
    }

    /// Brings about what the act begins with.
    async fn prepare(self, world: &World) {
        if matches!(self, Self::Create) {
            return;
        }
        let operator = Operator::start(world);
        self.make_element(world).await;
        created(world).await;
        operator.stop().await;
    }

    /// Asks the operator for the act.
    async fn begin(self, world: &World) {
        match self {
            Self::Create => self.make_element(world).await,
            Self::Delete | Self::Retain => world.delete_element().await,
        }
    }

    /// Waits until the act is done; answers with the picture of it.
    async fn end(self, world: &World) -> Value {
        match self {
            Self::Create => created(world).await,
            Self::Delete => deleted(world).await,
            Self::Retain => retained(world).await,
        }
    }
}

async fn created(world: &World) -> Value {
    world.ready("True", "Serving").await;
    let picture = world.picture().await;
    assert_eq!(picture["login"], true, "{picture:#}");
    picture
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

async fn retained(world: &World) -> Value {
    world.gone::<StorageElement>(NAME).await;
    let picture = world
        .until("nothing left that has an owner", async || {
            let picture = world.picture().await;
            let owned = ["configs", "accounts", "workloads", "services"];
            owned.iter().all(|kind| picture[kind] == json!([])).then_some(picture)
        })
        .await;
    let kept = ["databases", "secrets", "volumes"].map(|kind| picture[kind].as_array().map(Vec::len));
    // The role stands among the databases.
    assert_eq!(kept, [Some(2), Some(2), Some(1)], "{picture:#}");
    assert_eq!(picture["login"], true, "{picture:#}");
    picture
}

/// The steps of the quiet run, and how it ends.
async fn quiet(act: Act) -> (usize, Value) {
    let (mut steps, mut end) = (0, Value::Null);
    with_world(async |world| {
        act.prepare(world).await;
        let operator = Operator::start(world);
        act.begin(world).await;
        end = act.end(world).await;
        steps = operator.script.log().len();
        operator.stop().await;
    })
    .await;
    (steps, end)
}

/// Kills the operator after `step`, lets another finish, and answers with the end.
async fn killed(step: usize, act: Act) -> Value {
    let mut end = Value::Null;
    with_world(async |world| {
        act.prepare(world).await;
        let script = Script::stop_after(step);
        let operator = Operator::scripted(world, script.clone());
        act.begin(world).await;
        // Runs differ by a step or so: one that ends before the step is reached has ended well.
        tokio::select! {
            () = script.reached() => {}
            _ = act.end(world) => {}
        }
        operator.kill().await;
        let operator = Operator::start(world);
        end = act.end(world).await;
        operator.stop().await;
    })
    .await;
    end
}

async fn kill_after_each_step(act: Act) {
    let (steps, end) = quiet(act).await;
    assert!(steps >= act.fewest_steps(), "{steps}");
    let all: Vec<_> = (1..=steps).collect();
    for some in all.chunks(AT_ONCE) {
        let ends = join_all(some.iter().map(|step| killed(*step, act))).await;
        for (step, killed) in some.iter().zip(ends) {
            assert_eq!(killed, end, "killed after step {step}");
        }
    }
}

#[tokio::test]
async fn creation_killed_after_any_step_ends_like_a_quiet_one() {
    kill_after_each_step(Act::Create).await;
}

#[tokio::test]
async fn deletion_killed_after_any_step_ends_like_a_quiet_one() {
    kill_after_each_step(Act::Delete).await;
}

#[tokio::test]
async fn deletion_that_keeps_data_killed_after_any_step_ends_like_a_quiet_one() {
    kill_after_each_step(Act::Retain).await;
}
