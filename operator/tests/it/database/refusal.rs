//! What is refused or fails, how it is told apart, and that nothing is left behind.

use std::sync::LazyLock;

use artstore_operator::database::{DatabaseError, DatabaseServer, PostgresServer, Released};
use secrecy::SecretString;

use super::scene::{self, Scene, with_scene};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::default);

#[tokio::test]
async fn foreign_database_prefix_and_role_are_refused_naming_the_owner() {
    with_scene(async |scene| {
        let one = scene.claim("one", "one_");
        SERVER.ensure(&scene.admin, &one).await.expect("first");
        let state = scene.state().await;
        let owner = format!("{}/one", scene.namespace);

        let mut overlapping = scene.claim_in("two", "one_more_", "one");
        overlapping.adopt = true;
        let mut elsewhere = scene.claim_in("three", "three_", "one");
        elsewhere.owner.namespace.push_str("-b");
        let mut same_role = scene.claim("four", "four_");
        same_role.role.clone_from(&one.role);
        for claim in [overlapping, elsewhere, same_role] {
            match SERVER.ensure(&scene.admin, &claim).await {
                Err(DatabaseError::OwnedByOther { owner: named, .. }) => assert_eq!(named, owner),
                other => panic!("{}: {other:?}", claim.owner),
            }
            assert_eq!(
                SERVER.release(&scene.admin, &claim).await.expect("nothing to do"),
                Released::Nothing
            );
        }
        assert_eq!(scene.state().await, state);
    })
    .await;
}

#[tokio::test]
async fn foreign_tables_under_the_prefix_are_refused_without_adopt() {
    with_scene(async |scene| {
        let (one, mut two) = (scene.claim("one", "one_"), scene.claim_in("two", "two_", "one"));
        SERVER.ensure(&scene.admin, &one).await.expect("first");
        scene.sql_in(&one.database, "CREATE TABLE two_wal (id int)").await;
        let state = scene.state().await;
        let refused = SERVER.ensure(&scene.admin, &two).await.expect_err("somebody's data");
        assert!(matches!(refused, DatabaseError::Unmarked { .. }), "{refused:?}");
        assert_eq!(scene.state().await, state);
        two.adopt = true;
        SERVER.ensure(&scene.admin, &two).await.expect("adopted");
        scene::run(&mut scene.connect_claim(&two).await, "DROP TABLE two_wal")
            .await
            .expect("its own now");
    })
    .await;
}

#[tokio::test]
async fn unmarked_or_mighty_role_is_refused() {
    with_scene(async |scene| {
        let mut claim = scene.claim("one", "one_");
        scene
            .sql(&format!("CREATE ROLE {} LOGIN CREATEDB PASSWORD 'old'", claim.role))
            .await;
        for adopt in [false, true] {
            claim.adopt = adopt;
            let refused = SERVER.ensure(&scene.admin, &claim).await.expect_err("refused");
            assert!(matches!(refused, DatabaseError::RoleTaken { .. }), "{refused:?}");
        }
        scene.sql(&format!("ALTER ROLE {} NOCREATEDB", claim.role)).await;
        SERVER.ensure(&scene.admin, &claim).await.expect("adopted");
        scene.connect_claim(&claim).await;
    })
    .await;
}

#[tokio::test]
async fn missing_privilege_gives_a_typed_error_and_goes_on_when_it_is_granted() {
    with_scene(async |scene| {
        let claim = scene.claim("one", "one_");
        let admin = scene.admin_role("boss", "").await;
        for (step, grant) in [("create role", "CREATEROLE"), ("create database", "CREATEDB")] {
            match SERVER.ensure(&admin, &claim).await {
                Err(DatabaseError::InsufficientPrivilege { step: failed, .. }) => {
                    assert!(failed.starts_with(step), "{failed}")
                }
                other => panic!("{other:?}"),
            }
            scene.sql(&format!("ALTER ROLE {} {grant}", admin.username)).await;
        }
        SERVER.ensure(&admin, &claim).await.expect("all granted");
    })
    .await;
}

#[tokio::test]
async fn wrong_password_gives_authentication_and_leaks_nothing() {
    with_scene(async |scene| {
        let mut admin = scene.admin.clone();
        admin.password = SecretString::from("wrong-and-secret");
        let error = SERVER
            .ensure(&admin, &scene.claim("one", "one_"))
            .await
            .expect_err("refused");
        assert!(matches!(error, DatabaseError::Authentication { .. }), "{error:?}");
        assert!(!format!("{error:?} {error} {admin:?}").contains("wrong-and-secret"));
    })
    .await;
}

#[tokio::test]
async fn closed_port_gives_unreachable() {
    with_scene(async |scene| {
        let mut admin = scene.admin.clone();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        admin.port = listener.local_addr().expect("bound").port();
        drop(listener);
        let error = SERVER
            .release(&admin, &scene.claim("one", "one_"))
            .await
            .expect_err("nobody there");
        assert!(matches!(error, DatabaseError::Unreachable { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn names_of_the_server_itself_are_refused() {
    with_scene(async |scene: &Scene| {
        for (database, role) in [
            ("postgres", "x"),
            ("template1", "x"),
            ("x", "pg_monitor"),
            ("x", &scene.admin.username),
        ] {
            let mut claim = scene.claim("one", "one_");
            claim.adopt = true;
            (claim.database, claim.role) = (database.to_owned(), role.to_owned());
            for error in [
                SERVER.ensure(&scene.admin, &claim).await.expect_err("refused"),
                SERVER.release(&scene.admin, &claim).await.expect_err("refused"),
            ] {
                assert!(matches!(error, DatabaseError::Invalid { .. }), "{error:?}");
            }
        }
    })
    .await;
}
