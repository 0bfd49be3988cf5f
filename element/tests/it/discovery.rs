//! Discovery in a real Redis: alone, encrypted, a cluster, and away.

use std::collections::BTreeSet;

use redis::AsyncCommands;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::announced::{Announced, redis, server};
use crate::harness::certificates::Authority;
use crate::harness::client::send;
use crate::harness::proxy::Proxy;
use crate::harness::redis::{Cluster, HOST, Server};
use crate::harness::{Element, Setup, eventually};

#[tokio::test]
async fn element_announces_itself_follows_its_mode_and_leaves() {
    let (host, port) = server();
    let mut redis = redis().await;
    let announced = Announced::new("rw", &host, port);
    let element = announced.setup.start().await;
    eventually("the element is announced", async || {
        announced.score(&mut redis, "rw").await == Some(7.0)
    })
    .await;
    let hash = announced.hash(&mut redis).await;
    for (field, value) in [
        ("id", announced.id.as_str()),
        ("mode", "rw"),
        ("endpoint", "http://storage-it:8010"),
        ("priority", "7"),
        ("health_status", "healthy"),
        ("capacity_status", "ok"),
        ("capacity_used", "0"),
    ] {
        assert_eq!(hash.get(field).map(String::as_str), Some(value), "{field}");
    }
    for field in [
        "capacity_total",
        "capacity_free",
        "threshold_warning",
        "threshold_critical",
        "threshold_full",
    ] {
        assert!(hash[field].parse::<u64>().unwrap() > 0, "{field}");
    }
    assert!(hash["capacity_percent"].parse::<f64>().is_ok() && hash["last_updated"].parse::<jiff::Timestamp>().is_ok());
    let ttl: i64 = redis.ttl(format!("storage:elements:{}", announced.id)).await.unwrap();
    assert!((1..=90).contains(&ttl), "{ttl}");
    assert_eq!(announced.score(&mut redis, "edit").await, None);

    change_mode(&element, "ro").await;
    eventually("it left the set of writers", async || {
        announced.score(&mut redis, "rw").await.is_none()
    })
    .await;
    eventually("the hash follows", async || {
        announced.hash(&mut redis).await["mode"] == "ro"
    })
    .await;
    element.stop().await;
    assert!(announced.hash(&mut redis).await.is_empty());
}

#[tokio::test]
async fn element_that_was_not_told_its_endpoint_announces_its_host_and_port() {
    let (host, port) = server();
    let mut redis = redis().await;
    let mut announced = Announced::new("rw", &host, port);
    announced.setup.unset("STORAGE_EXTERNAL_ENDPOINT");
    let element = announced.setup.start().await;
    eventually("the element is announced", async || {
        !announced.hash(&mut redis).await.is_empty()
    })
    .await;
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let endpoint = format!("http://{host}:{}", element.client.address.port());
    assert_eq!(announced.hash(&mut redis).await["endpoint"], endpoint);
    element.stop().await;
}

#[tokio::test]
async fn redis_away_stops_nothing_and_is_logged_once() {
    let (host, port) = server();
    let wire = Proxy::to(format!("{host}:{port}"), false).await;
    let mut redis = redis().await;
    let announced = Announced::new("edit", "127.0.0.1", wire.address.port());
    let element = announced.setup.start().await;
    element.client.store("a.txt", b"abc").await;
    let failures = async || {
        let text = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("artstore_element_redis_reports_total{result=\"failed\"}"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    eventually("several reports have failed", async || failures().await >= 3_u32).await;
    assert_eq!(element.stderr.count("Redis is away"), 1, "{}", element.stderr.text());

    wire.mend();
    eventually("the element is announced", async || {
        announced.score(&mut redis, "edit").await == Some(7.0)
    })
    .await;
    element.stderr.wait_for("Redis is back").await;
    let text = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
    assert!(text.contains("artstore_element_redis_up 1"), "{text}");

    wire.cut();
    eventually("it is noticed", async || element.stderr.count("Redis is away") == 2).await;
    element.stop().await;
    let _: () = redis.zrem("storage:edit:by_priority", &announced.id).await.unwrap();
    let _: () = redis.del(format!("storage:elements:{}", announced.id)).await.unwrap();
}

#[tokio::test]
async fn element_leaves_with_its_last_server_also_when_all_stop_at_once() {
    let (host, port) = server();
    let mut redis = redis().await;
    let mut announced = Announced::over(Setup::postgres().await, "edit", &host, port);
    announced.setup.set("STORAGE_SHARED", "true");
    // So seldom that nothing which was taken out would be put back during the test.
    announced.setup.set("HEALTH_REPORT_INTERVAL", "60s");
    let (one, other) = (announced.setup.start().await, announced.setup.start().await);
    for element in [&one, &other] {
        eventually("each has reported", async || {
            let text = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
            text.contains("artstore_element_redis_up 1")
        })
        .await;
    }
    one.stop().await;
    assert_eq!(announced.score(&mut redis, "edit").await, Some(7.0));
    assert_eq!(announced.hash(&mut redis).await["mode"], "edit");
    other.stop().await;
    assert_eq!(announced.score(&mut redis, "edit").await, None);
    assert!(announced.hash(&mut redis).await.is_empty());

    let both = (announced.setup.start().await, announced.setup.start().await);
    eventually("the element is announced again", async || {
        announced.score(&mut redis, "edit").await == Some(7.0)
    })
    .await;
    futures::join!(both.0.stop(), both.1.stop());
    assert_eq!(announced.score(&mut redis, "edit").await, None);
    assert!(announced.hash(&mut redis).await.is_empty());
}

/// Stores, reads and is ready as if nothing had happened.
async fn assert_serves(element: &Element) {
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    assert_eq!(element.client.get(&path).await.expect(200).body, b"abc");
    element.client.get("/health/ready").await.expect(200);
}

async fn change_mode(element: &Element, mode: &str) {
    let request = element
        .client
        .by("admin", "POST", "/mode/transition")
        .json(&json!({ "target_mode": mode }));
    send(request).await.expect(200);
}

#[tokio::test]
async fn element_that_takes_no_files_is_in_no_set() {
    let (host, port) = server();
    let mut redis = redis().await;
    let mut announced = Announced::new("edit", &host, port);
    let element = announced.setup.start().await;
    let file = element.client.store("large.bin", &vec![1; 500_000]).await;
    eventually("the element is announced", async || {
        announced.score(&mut redis, "edit").await == Some(7.0)
    })
    .await;
    element.stop().await;
    announced.setup.set("STORAGE_MAX_SIZE", "505k");
    let element = announced.setup.start().await;
    eventually("it is announced as full", async || {
        let hash = announced.hash(&mut redis).await;
        hash.get("capacity_status").map(String::as_str) == Some("full")
    })
    .await;
    assert_eq!(announced.score(&mut redis, "edit").await, None);
    let delete = format!("/files/{}", file["file_id"].as_str().unwrap());
    send(element.client.by("admin", "DELETE", &delete)).await.expect(204);
    eventually("it is back with room", async || {
        announced.score(&mut redis, "edit").await == Some(7.0)
    })
    .await;
    element.stop().await;

    let announced = Announced::new("rw", &host, port);
    let element = announced.setup.start().await;
    for mode in ["ro", "ar"] {
        change_mode(&element, mode).await;
        eventually("the hash follows the mode", async || {
            announced.hash(&mut redis).await.get("mode").map(String::as_str) == Some(mode)
        })
        .await;
        eventually("it is in no set", async || {
            announced.score(&mut redis, "rw").await.is_none() && announced.score(&mut redis, "edit").await.is_none()
        })
        .await;
    }
    element.stop().await;
    assert!(announced.hash(&mut redis).await.is_empty());
}

#[tokio::test]
async fn encrypted_redis_is_used_like_any_other() {
    let authority = Authority::new();
    let redis = Server::start(Some("a-secret-of-redis"), Some((&authority, HOST))).await;
    let mut connection = redis.connect().await.unwrap();
    let mut announced = Announced::nowhere("edit");
    redis.configure(&mut announced.setup);
    let element = announced.setup.start().await;
    eventually("the element is announced", async || {
        announced.score(&mut connection, "edit").await == Some(7.0)
    })
    .await;
    assert_eq!(announced.hash(&mut connection).await["health_status"], "healthy");
    let log = element.stderr.clone();
    element.stop().await;
    assert!(announced.hash(&mut connection).await.is_empty());
    assert_eq!(announced.score(&mut connection, "edit").await, None);
    assert!(!log.text().contains("a-secret-of-redis"), "{}", log.text());
}

#[tokio::test]
async fn password_of_redis_may_stand_in_its_variable() {
    let redis = Server::start(Some("a-secret-of-redis"), None).await;
    let mut connection = redis.connect().await.unwrap();
    let mut announced = Announced::nowhere("edit");
    redis.configure(&mut announced.setup);
    announced.setup.unset("REDIS_PASSWORD_FILE");
    announced.setup.set("REDIS_PASSWORD", "a-secret-of-redis");
    let element = announced.setup.start().await;
    eventually("the element is announced", async || {
        announced.score(&mut connection, "edit").await == Some(7.0)
    })
    .await;
    let log = element.stderr.clone();
    element.stop().await;
    assert!(!log.text().contains("a-secret-of-redis"), "{}", log.text());
}

#[tokio::test]
async fn redis_that_is_not_the_right_one_is_told_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = Server::start(Some("right"), Some((&authority, HOST))).await;
    let misnamed = Server::start(Some("right"), Some((&authority, "redis.example.org"))).await;
    let plain = Server::start(None, None).await;
    let other_ca = other.pem();
    for (what, server, changes) in [
        (
            "another authority's certificate",
            &good,
            vec![("ca", other_ca.as_str())],
        ),
        ("another name's certificate", &misnamed, vec![]),
        ("a wrong password", &good, vec![("password", "wrong")]),
        ("no password", &good, vec![("password", "")]),
        ("no encryption where there is some", &good, vec![("tls", "false")]),
        ("encryption where there is none", &plain, vec![("tls", "true")]),
    ] {
        let mut announced = Announced::nowhere("edit");
        server.configure(&mut announced.setup);
        let setup = &mut announced.setup;
        for (name, value) in changes {
            match (name, value) {
                ("ca", pem) => drop(setup.file("redis-ca.pem", pem)),
                ("password", "") => setup.unset("REDIS_PASSWORD_FILE"),
                ("password", word) => drop(setup.file("redis-password", word)),
                ("tls", "false") => {
                    setup.unset("REDIS_TLS");
                    setup.unset("REDIS_SSL_CA_CERT");
                }
                _ => {
                    let ca = setup.file("redis-ca.pem", &authority.pem());
                    setup.set("REDIS_TLS", "true");
                    setup.set("REDIS_SSL_CA_CERT", ca.to_str().unwrap());
                }
            }
        }
        println!("{what}");
        let element = announced.setup.start().await;
        element.stderr.wait_for("Redis is away").await;
        assert_serves(&element).await;
        element.stop().await;
        if let Ok(mut connection) = server.connect().await {
            assert!(announced.hash(&mut connection).await.is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn redis_that_stands_still_holds_nothing_up() {
    let redis = Server::start(None, None).await;
    let mut connection = redis.connect().await.unwrap();
    let mut announced = Announced::nowhere("edit");
    redis.configure(&mut announced.setup);
    let element = announced.setup.start().await;
    eventually("the element is announced", async || {
        announced.score(&mut connection, "edit").await == Some(7.0)
    })
    .await;
    redis.signal(Signal::STOP);
    element.stderr.wait_for("Redis is away").await;
    assert_serves(&element).await;
    redis.signal(Signal::CONT);
    element.stderr.wait_for("Redis is back").await;
    redis.signal(Signal::STOP);
    // Leaving is given up too, and stopping goes on.
    element.stop().await;
    redis.signal(Signal::CONT);
}

#[tokio::test]
async fn element_is_announced_in_a_cluster() {
    let authority = Authority::new();
    for cluster in [
        Cluster::start(None, None).await,
        Cluster::start(Some("a-secret-of-redis"), Some((&authority, HOST))).await,
    ] {
        let mut redis = cluster.connect().await;
        let mut announced = Announced::nowhere("rw");
        cluster.configure(&mut announced.setup);
        let mut homes = BTreeSet::new();
        for key in [
            announced.key().as_str(),
            "storage:rw:by_priority",
            "storage:edit:by_priority",
        ] {
            homes.insert(cluster.node_of(key).await);
        }
        assert!(homes.len() > 1, "the keys of a report lie on several nodes");
        let element = announced.setup.start().await;
        eventually("the element is announced", async || {
            announced.score(&mut redis, "rw").await == Some(7.0)
        })
        .await;
        assert_eq!(announced.hash(&mut redis).await["endpoint"], "http://storage-it:8010");
        let ttl: i64 = redis.ttl(announced.key()).await.unwrap();
        assert!((1..=90).contains(&ttl), "{ttl}");
        change_mode(&element, "ro").await;
        eventually("it left the set of writers", async || {
            announced.score(&mut redis, "rw").await.is_none() && announced.hash(&mut redis).await["mode"] == "ro"
        })
        .await;
        element.stop().await;
        assert!(announced.hash(&mut redis).await.is_empty());
    }
}

#[tokio::test]
async fn cluster_that_loses_a_node_stops_nothing_and_is_found_again() {
    let mut cluster = Cluster::start(None, None).await;
    let mut announced = Announced::nowhere("edit");
    cluster.configure(&mut announced.setup);
    let element = announced.setup.start().await;
    let mut redis = cluster.connect().await;
    eventually("the element is announced", async || {
        announced.score(&mut redis, "edit").await == Some(7.0)
    })
    .await;
    let home = cluster.node_of(&announced.key()).await;
    cluster.nodes[home].kill();
    element.stderr.wait_for("Redis is away").await;
    assert_serves(&element).await;
    cluster.nodes[home].run().await;
    element.stderr.wait_for("Redis is back").await;
    let mut redis = cluster.connect().await;
    eventually("the element is announced again", async || {
        !announced.hash(&mut redis).await.is_empty()
    })
    .await;
    element.stop().await;
}
