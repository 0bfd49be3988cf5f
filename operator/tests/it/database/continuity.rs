//! An element of the same name with another uid: an earlier life is gone on with, somebody else is refused.

use std::sync::LazyLock;

use artstore_operator::database::{Claim, DatabaseError, DatabaseServer, PostgresServer, Released};
use secrecy::SecretString;

use super::scene::{self, Scene, with_scene};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::default);

/// `claim` as an element of the same name in another cluster would make it.
fn elsewhere(claim: &Claim) -> Claim {
    let mut claim = claim.clone();
    claim.owner.uid = "uid-elsewhere".to_owned();
    claim.password = SecretString::from("a password of its own");
    claim
}

/// Refused with the owner told apart, and nothing written.
async fn refused(scene: &Scene, claim: &Claim) {
    let state = scene.state().await;
    match SERVER.ensure(&scene.admin, claim).await {
        Err(DatabaseError::OwnedByOther { owner, .. }) => {
            let named = format!("{}/one (uid uid-one)", scene.namespace);
            assert!(owner.contains(&named) && owner.contains("adopt: true"), "{owner}");
        }
        other => panic!("{other:?}"),
    }
    let released = SERVER.release(&scene.admin, claim).await.expect("nothing to do");
    assert_eq!((released, scene.state().await), (Released::Nothing, state));
}

#[tokio::test]
async fn another_uid_with_another_password_is_refused_until_it_adopts() {
    with_scene(async |scene| {
        let claim = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &claim).await.expect("first");
        scene::run(&mut scene.connect_claim(&claim).await, "CREATE TABLE one_wal (id int)")
            .await
            .expect("table");
        let mut other = elsewhere(&claim);
        refused(scene, &other).await;
        scene.connect_claim(&claim).await;

        other.adopt = true;
        SERVER.ensure(&scene.admin, &other).await.expect("taken");
        scene::run(&mut scene.connect_claim(&other).await, "SELECT * FROM one_wal")
            .await
            .expect("its table is there");
        // Now the first one is the stranger.
        assert!(SERVER.ensure(&scene.admin, &claim).await.is_err());
        other.adopt = false;
        assert!(!SERVER.ensure(&scene.admin, &other).await.expect("settled").created);
        let released = SERVER.release(&scene.admin, &other).await.expect("released");
        assert_eq!(released, Released::Database);
    })
    .await;
}

#[tokio::test]
async fn role_of_another_uid_is_not_taken_for_another_database() {
    with_scene(async |scene| {
        let claim = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &claim).await.expect("first");
        let mut other = elsewhere(&claim);
        other.database.push_str("_more");
        refused(scene, &other).await;

        other.password = claim.password.clone();
        assert!(SERVER.ensure(&scene.admin, &other).await.expect("proven").created);
    })
    .await;
}

#[tokio::test]
async fn tables_of_another_uid_are_not_taken_by_another_role() {
    with_scene(async |scene| {
        let claim = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &claim).await.expect("first");
        let mut other = elsewhere(&claim);
        other.role.push_str("_more");
        refused(scene, &other).await;
    })
    .await;
}

#[tokio::test]
async fn role_that_is_gone_proves_nothing() {
    with_scene(async |scene| {
        let claim = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &claim).await.expect("first");
        scene
            .sql_in(
                &claim.database,
                &format!("DROP OWNED BY {0}; DROP ROLE {0}", claim.role),
            )
            .await;
        let mut later = claim.clone();
        later.owner.uid = "uid-later".to_owned();
        refused(scene, &later).await;
        later.adopt = true;
        SERVER.ensure(&scene.admin, &later).await.expect("taken");
        scene.connect_claim(&later).await;
    })
    .await;
}
