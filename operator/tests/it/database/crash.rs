//! Cut off at every request, on either side of the server's doing it: the next run must end where a quiet one ends.

use std::sync::LazyLock;

use artstore_operator::database::{Claim, DatabaseServer, PostgresServer};

use super::proxy::{Cut, Proxy};
use super::scene::{self, Scene, with_scene};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::default);

#[derive(Clone, Copy, Debug)]
enum Act {
    Ensure,
    Release,
}

/// What is there before the act that is cut.
type Setting = for<'a> fn(&'a Scene, &'a Claim) -> futures::future::BoxFuture<'a, ()>;

async fn act(act: Act, access: &artstore_operator::database::AdminAccess, claim: &Claim) -> bool {
    match act {
        Act::Ensure => SERVER.ensure(access, claim).await.is_ok(),
        Act::Release => SERVER.release(access, claim).await.is_ok(),
    }
}

/// Cuts at request 1, 2, 3 … until the act gets through uncut.
async fn cut_everywhere(scene: &Scene, claim: &Claim, what: Act, setting: Setting) {
    setting(scene, claim).await;
    assert!(act(what, &scene.admin, claim).await, "the quiet run");
    let quiet = scene.state().await;
    scene.clear().await;
    for cut in [Cut::Before, Cut::After] {
        for at in 1.. {
            setting(scene, claim).await;
            let proxy = Proxy::open(&scene.admin, cut, at).await;
            let went_through = act(what, &proxy.access, claim).await;
            let was_cut = proxy.has_cut();
            assert!(went_through || was_cut, "{cut:?} {at}: failed without being cut");
            if !went_through {
                assert!(
                    act(what, &scene.admin, claim).await,
                    "{cut:?} {at}: the next run goes on"
                );
            }
            assert_eq!(scene.state().await, quiet, "{cut:?} {at}");
            assert!(
                scene.names().await.iter().all(|name| !name.contains("artstore_new_")),
                "{cut:?} {at}"
            );
            scene.clear().await;
            if !was_cut {
                assert!(at > 10, "only {at} requests were seen");
                break;
            }
        }
    }
}

fn one(scene: &Scene) -> Claim {
    scene.claim("one", "one_")
}

#[tokio::test]
async fn creation_cut_anywhere_ends_as_a_quiet_one() {
    with_scene(async |scene| {
        cut_everywhere(scene, &one(scene), Act::Ensure, |_, _| Box::pin(async {})).await;
    })
    .await;
}

#[tokio::test]
async fn sharing_cut_anywhere_ends_as_a_quiet_one() {
    with_scene(async |scene| {
        cut_everywhere(scene, &scene.claim_in("two", "two_", "one"), Act::Ensure, |scene, _| {
            Box::pin(async {
                SERVER.ensure(&scene.admin, &one(scene)).await.expect("first");
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn adoption_cut_anywhere_ends_as_a_quiet_one() {
    with_scene(async |scene| {
        let mut claim = one(scene);
        claim.adopt = true;
        cut_everywhere(scene, &claim, Act::Ensure, |scene, claim| {
            Box::pin(scene.existing_database(claim))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn dropping_a_database_cut_anywhere_ends_as_a_quiet_one() {
    with_scene(async |scene| {
        cut_everywhere(scene, &one(scene), Act::Release, |scene, claim| {
            Box::pin(async {
                SERVER.ensure(&scene.admin, claim).await.expect("there");
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn dropping_a_prefix_cut_anywhere_ends_as_a_quiet_one() {
    with_scene(async |scene| {
        cut_everywhere(
            scene,
            &scene.claim_in("two", "two_", "one"),
            Act::Release,
            |scene, claim| {
                Box::pin(async {
                    SERVER.ensure(&scene.admin, &one(scene)).await.expect("first");
                    SERVER.ensure(&scene.admin, claim).await.expect("second");
                    scene::run(&mut scene.connect_claim(claim).await, scene::EVERY_KIND)
                        .await
                        .expect("objects");
                })
            },
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn creation_cut_and_then_given_up_leaves_nothing() {
    with_scene(async |scene| {
        let claim = one(scene);
        for at in 1.. {
            let proxy = Proxy::open(&scene.admin, Cut::After, at).await;
            let went_through = act(Act::Ensure, &proxy.access, &claim).await;
            SERVER.release(&scene.admin, &claim).await.expect("released");
            assert_eq!(scene.names().await, Vec::<String>::new(), "{at}");
            if went_through && !proxy.has_cut() {
                break;
            }
        }
    })
    .await;
}
