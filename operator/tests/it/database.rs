//! The PostgreSQL edge against a real server, named by `ARTSTORE_TEST_POSTGRES`.

mod cleanup;
mod continuity;
mod crash;
pub(crate) mod proxy;
mod refusal;
pub(crate) mod scene;
mod tls;

use std::sync::LazyLock;

use artstore_operator::database::{DatabaseError, DatabaseServer, PostgresServer, Released};
use scene::with_scene;
use secrecy::SecretString;

static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::default);

#[tokio::test]
async fn empty_server_gives_role_database_mark_and_no_public_rights() {
    with_scene(async |scene| {
        let claim = scene.claim("one", "one_");
        let made = SERVER.ensure(&scene.admin, &claim).await.expect("provisioned");
        assert!(made.created);
        assert_eq!(made.owner, format!("{}/one", scene.namespace));

        let state = scene.state().await;
        let mark = format!(
            r#"{{"managedBy":"artstore-operator","adopted":false,"claims":[{{"prefix":"one_","role":"{role}","uid":"uid-one","namespace":"{namespace}","name":"one"}}]}}"#,
            role = claim.role,
            namespace = scene.namespace
        );
        assert!(state.contains(&mark), "{state}");
        let stranger = scene.plain_role("stranger").await;
        let refused = scene.connect(&stranger, &claim.database).await.expect_err("PUBLIC may not connect");
        assert!(refused.to_string().contains("permission denied for database"), "{refused}");

        let mut element = scene.connect_claim(&claim).await;
        scene::run(&mut element, "CREATE TABLE one_file_metadata (id text PRIMARY KEY)").await.expect("own table");
        scene::run(&mut element, "CREATE DATABASE more").await.expect_err("an element makes no databases");
    })
    .await;
}

#[tokio::test]
async fn repeat_changes_nothing_and_writes_nothing() {
    with_scene(async |scene| {
        let claim = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &claim).await.expect("first");
        let (state, versions) = (scene.state().await, scene.row_versions(&claim).await);
        let again = SERVER.ensure(&scene.admin, &claim).await.expect("second");
        assert!(!again.created);
        assert_eq!(
            (scene.state().await, scene.row_versions(&claim).await),
            (state, versions)
        );
    })
    .await;
}

#[tokio::test]
async fn lost_password_right_and_mark_are_put_back() {
    with_scene(async |scene| {
        let mut claim = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &claim).await.expect("first");
        let state = scene.state().await;

        claim.password = SecretString::from("another password");
        SERVER.ensure(&scene.admin, &claim).await.expect("new password");
        scene.connect_claim(&claim).await;

        scene
            .sql(&format!(
                "GRANT CONNECT ON DATABASE {0} TO PUBLIC; ALTER ROLE {1} NOLOGIN",
                claim.database, claim.role
            ))
            .await;
        SERVER.ensure(&scene.admin, &claim).await.expect("rights and login");
        assert_eq!(scene.state().await, state);

        scene
            .sql(&format!(
                "REVOKE ALL ON DATABASE {0} FROM {1}",
                claim.database, claim.role
            ))
            .await;
        SERVER.ensure(&scene.admin, &claim).await.expect("right to connect");
        assert_eq!(scene.state().await, state);
    })
    .await;
}

#[tokio::test]
async fn two_elements_racing_for_one_name_give_one_owner() {
    with_scene(async |scene| {
        let (left, mut right) = (scene.claim("left", "same_"), scene.claim("right", "same_"));
        right.role.clone_from(&left.role);
        let (first, second) = tokio::join!(SERVER.ensure(&scene.admin, &left), SERVER.ensure(&scene.admin, &right));
        let (winner, refused) = match (first, second) {
            (Ok(made), Err(refused)) | (Err(refused), Ok(made)) => (made, refused),
            other => panic!("one must win: {other:?}"),
        };
        assert!(winner.created);
        match refused {
            DatabaseError::OwnedByOther { owner, .. } => assert_eq!(owner, winner.owner),
            other => panic!("{other:?}"),
        }
        assert_eq!(scene.names().await.len(), 2, "one role, one database");
    })
    .await;
}

#[tokio::test]
async fn many_elements_at_once_all_get_their_own() {
    with_scene(async |scene| {
        let claims: Vec<_> = (0..6)
            .map(|number| scene.claim(&format!("e{number}"), &format!("e{number}_")))
            .collect();
        let all = futures::future::join_all(claims.iter().map(|claim| SERVER.ensure(&scene.admin, claim))).await;
        let made = all.into_iter().collect::<Result<Vec<_>, _>>().expect("all provisioned");
        assert_eq!(made.iter().filter(|made| made.created).count(), claims.len());
    })
    .await;
}

#[tokio::test]
async fn shared_database_keeps_roles_apart() {
    with_scene(async |scene| {
        let (one, two) = (scene.claim("one", "one_"), scene.claim_in("two", "two_", "one"));
        SERVER.ensure(&scene.admin, &one).await.expect("first");
        assert!(SERVER.ensure(&scene.admin, &two).await.expect("second").created);
        let mut first = scene.connect_claim(&one).await;
        let mut second = scene.connect_claim(&two).await;
        scene::run(&mut first, "CREATE TABLE one_wal (id int PRIMARY KEY)")
            .await
            .expect("own table");
        scene::run(&mut second, "CREATE TABLE two_wal (id int PRIMARY KEY)")
            .await
            .expect("own table");
        for theirs in [
            "SELECT * FROM one_wal",
            "INSERT INTO one_wal VALUES (1)",
            "DROP TABLE one_wal",
            "ALTER TABLE one_wal ADD COLUMN x int",
            "CREATE INDEX two_index ON one_wal (id)",
            "TRUNCATE one_wal",
            "DROP SCHEMA public CASCADE",
            "COMMENT ON DATABASE {database} IS NULL",
        ] {
            let statement = theirs.replace("{database}", &one.database);
            let code = scene::run(&mut second, &statement).await.expect_err("not its own");
            assert_eq!(
                code.as_database_error().and_then(|error| error.code()).as_deref(),
                Some("42501"),
                "{statement}"
            );
        }
        // The first one made the database and still has no more rights in it than the second.
        scene::run(&mut first, "DROP TABLE two_wal")
            .await
            .expect_err("not its own");
    })
    .await;
}

#[tokio::test]
async fn retained_element_of_the_same_name_takes_its_own_up_again() {
    with_scene(async |scene| {
        let mut claim = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &claim).await.expect("first life");
        let mut element = scene.connect_claim(&claim).await;
        scene::run(&mut element, "CREATE TABLE one_wal (id int)")
            .await
            .expect("table");
        claim.owner.uid = "uid-later".to_owned();
        assert!(!SERVER.ensure(&scene.admin, &claim).await.expect("second life").created);
        scene::run(&mut element, "SELECT * FROM one_wal")
            .await
            .expect("its table is there");
        let state = scene.state().await;
        assert!(state.contains("uid-later") && !state.contains("uid-one"), "{state}");
    })
    .await;
}

#[tokio::test]
async fn unmarked_database_is_taken_with_its_tables_only_when_adopted() {
    with_scene(async |scene| {
        let mut claim = scene.claim("one", "one_");
        scene.existing_database(&claim).await;
        let state = scene.state().await;
        let refused = SERVER.ensure(&scene.admin, &claim).await.expect_err("refused");
        assert!(matches!(refused, DatabaseError::Unmarked { .. }), "{refused:?}");
        assert_eq!(scene.state().await, state);

        claim.adopt = true;
        assert!(SERVER.ensure(&scene.admin, &claim).await.expect("adopted").created);
        let mut element = scene.connect_claim(&claim).await;
        for own in [
            "INSERT INTO one_file_metadata DEFAULT VALUES",
            "ALTER TABLE one_wal ADD COLUMN more text",
        ] {
            scene::run(&mut element, own).await.expect("its own now");
        }
        scene::run(&mut element, "SELECT * FROM other")
            .await
            .expect_err("never its own");

        // Its own tables go; the database was there before and stays with what else is in it.
        assert_eq!(
            SERVER.release(&scene.admin, &claim).await.expect("released"),
            Released::Prefix
        );
        let state = scene.state().await;
        assert!(
            state.contains("other") && !state.contains("one_") && !state.contains("artstore-operator"),
            "{state}"
        );
    })
    .await;
}

#[tokio::test]
async fn release_of_the_only_claim_drops_database_and_role_under_open_connections() {
    with_scene(async |scene| {
        let (one, other) = (scene.claim("one", "one_"), scene.claim("other", "other_"));
        SERVER.ensure(&scene.admin, &other).await.expect("other");
        let before = scene.state().await;
        SERVER.ensure(&scene.admin, &one).await.expect("one");
        let mut leftover = scene.connect_claim(&one).await;
        scene::run(&mut leftover, "CREATE TABLE one_wal (id int)")
            .await
            .expect("table");
        assert_eq!(
            SERVER.release(&scene.admin, &one).await.expect("released"),
            Released::Database
        );
        assert_eq!(scene.state().await, before);
        assert_eq!(
            SERVER.release(&scene.admin, &one).await.expect("repeated"),
            Released::Nothing
        );
        assert_eq!(scene.state().await, before);
    })
    .await;
}

#[tokio::test]
async fn release_in_a_shared_database_drops_only_its_prefix_and_role() {
    with_scene(async |scene| {
        let (one, two) = (scene.claim("one", "one_"), scene.claim_in("two", "two_", "one"));
        SERVER.ensure(&scene.admin, &one).await.expect("first");
        let mut first = scene.connect_claim(&one).await;
        scene::run(
            &mut first,
            "CREATE TABLE one_wal (id int); CREATE INDEX one_index ON one_wal (id)",
        )
        .await
        .expect("own");
        let before = scene.state().await;
        SERVER.ensure(&scene.admin, &two).await.expect("second");
        let mut second = scene.connect_claim(&two).await;
        scene::run(&mut second, scene::EVERY_KIND)
            .await
            .expect("objects of every kind");
        scene::run(&mut second, "BEGIN; LOCK TABLE two_wal")
            .await
            .expect("a session left behind, holding a lock");
        assert_eq!(
            SERVER.release(&scene.admin, &two).await.expect("released"),
            Released::Prefix
        );
        assert_eq!(scene.state().await, before);
        assert_eq!(
            SERVER.release(&scene.admin, &one).await.expect("the last one"),
            Released::Database
        );
        assert!(scene.names().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn administrator_without_superuser_does_the_whole_round() {
    with_scene(async |scene| {
        let admin = scene.admin_role("boss", "CREATEROLE CREATEDB").await;
        let (one, two) = (scene.claim("one", "one_"), scene.claim_in("two", "two_", "one"));
        SERVER.ensure(&admin, &one).await.expect("first");
        SERVER.ensure(&admin, &two).await.expect("second");
        assert!(!SERVER.ensure(&admin, &two).await.expect("repeat").created);
        let mut element = scene.connect_claim(&two).await;
        scene::run(&mut element, scene::EVERY_KIND)
            .await
            .expect("objects of every kind");
        let _leftover = scene.connect_claim(&one).await;
        assert_eq!(SERVER.release(&admin, &two).await.expect("prefix"), Released::Prefix);
        assert_eq!(
            SERVER.release(&admin, &one).await.expect("database"),
            Released::Database
        );
        assert_eq!(
            scene.names().await,
            ["role boss"].map(|name| name.replace(' ', &format!(" {}_", scene.namespace)))
        );
    })
    .await;
}
