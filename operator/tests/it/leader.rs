//! Leader election on a real API server.

use std::sync::Arc;

use artstore_operator::clock::SystemClock;
use artstore_operator::leader::Candidate;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

use crate::world::{World, with_world};

fn candidate(world: &World, identity: &str) -> Candidate {
    Candidate::new(
        world.client.clone(),
        &world.namespace,
        identity.to_owned(),
        Arc::new(SystemClock),
    )
}

async fn lease(world: &World) -> LeaseSpec {
    let lease = world.api::<Lease>().get("artstore-operator").await.unwrap();
    lease.spec.unwrap()
}

async fn holder(world: &World) -> Option<String> {
    lease(world).await.holder_identity
}

/// Returns when the Lease was renewed twice.
async fn renewed_twice(world: &World) {
    for _ in 0..2 {
        let before = lease(world).await.renew_time;
        world
            .until("a renewed Lease", async || {
                (lease(world).await.renew_time != before).then_some(())
            })
            .await;
    }
}

#[tokio::test]
async fn one_leads_and_the_other_follows_when_the_lease_is_given_back() {
    with_world(async |world| {
        let (mut first, mut second) = (candidate(world, "first"), candidate(world, "second"));
        let since = first.win().await;
        assert_eq!(holder(world).await.as_deref(), Some("first"));
        tokio::select! {
            _ = second.win() => panic!("two lead"),
            () = first.hold(since) => panic!("the Lease was lost"),
            () = renewed_twice(world) => {}
        }
        assert_eq!(holder(world).await.as_deref(), Some("first"));
        first.release().await.unwrap();
        second.win().await;
        assert_eq!(holder(world).await.as_deref(), Some("second"));
        // The first finds out as soon as it looks.
        first.hold(tokio::time::Instant::now()).await;
    })
    .await;
}

#[tokio::test]
async fn lease_nobody_renews_is_taken() {
    with_world(async |world| {
        candidate(world, "gone").win().await;
        candidate(world, "next").win().await;
        assert_eq!(holder(world).await.as_deref(), Some("next"));
    })
    .await;
}
