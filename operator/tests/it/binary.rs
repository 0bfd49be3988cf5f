//! The operator as it is installed: its own process, its Lease, its end.

use std::process::Stdio;

use artstore_crds::StorageElement;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};

use crate::world::{NAME, World, with_world};

fn start(world: &World) -> Child {
    Command::new(env!("CARGO_BIN_EXE_artstore-operator"))
        .args([
            "run",
            "--namespace",
            &world.namespace,
            "--lease-namespace",
            &world.namespace,
        ])
        .args([
            "--instance",
            "one",
            "--metrics-address",
            "127.0.0.1:0",
            "--log-level",
            "debug",
        ])
        .env(
            "KUBECONFIG",
            std::env::var_os("ARTSTORE_KUBECONFIG").expect("a kubeconfig"),
        )
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the operator's binary")
}

/// Reads all the while: a pipe nobody reads from would hold the operator up.
async fn read(mut log: ChildStderr) -> String {
    let mut text = String::new();
    log.read_to_string(&mut text).await.expect("text");
    text
}

async fn holder(world: &World) -> Option<String> {
    world
        .api::<Lease>()
        .get_opt("artstore-operator")
        .await
        .expect("an answer")?
        .spec?
        .holder_identity
}

#[tokio::test]
async fn sigterm_ends_it_in_order_gives_the_lease_back_and_no_secret_was_logged() {
    with_world(async |world| {
        let mut operator = start(world);
        let log = tokio::spawn(read(operator.stderr.take().expect("a log")));
        world
            .until("the Lease", async || {
                holder(world).await.filter(|holder| holder == "one")
            })
            .await;
        world.make::<StorageElement>(world.element(json!({}))).await;
        world.ready("True", "Serving").await;

        let id = operator
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?))
            .expect("a process");
        kill_process(id, Signal::TERM).expect("a signal");
        let status = operator.wait().await.expect("an end");
        let log = log.await.expect("a log");
        assert!(status.success(), "{log}");
        assert_eq!(holder(world).await, None);

        assert!(log.contains("\"stopped\""), "{log}");
        let mut secrets = 0;
        for name in [format!("{NAME}-db"), format!("{NAME}-admin")] {
            for value in world
                .api::<Secret>()
                .get(&name)
                .await
                .expect("a Secret")
                .data
                .into_iter()
                .flatten()
            {
                let text = String::from_utf8(value.1.0).expect("text");
                if value.0 != "username" {
                    secrets += 1;
                    assert!(!log.contains(&text), "{name} {}", value.0);
                }
            }
        }
        assert_eq!(secrets, 3);
    })
    .await;
}
