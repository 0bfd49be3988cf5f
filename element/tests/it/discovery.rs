//! Discovery in a real Redis.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, ConnectionAddr, IntoConnectionInfo};
use serde_json::json;

use crate::harness::client::send;
use crate::harness::proxy::Proxy;
use crate::harness::{Setup, eventually};

fn server() -> (String, u16) {
    let url = std::env::var("ARTSTORE_TEST_REDIS")
        .expect("ARTSTORE_TEST_REDIS must be the URL of a Redis server; `make test` sets it");
    match url.as_str().into_connection_info().unwrap().addr() {
        ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
        other => panic!("ARTSTORE_TEST_REDIS must be reached by TCP, not {other}"),
    }
}

async fn redis() -> MultiplexedConnection {
    let (host, port) = server();
    let client = redis::Client::open((host, port)).unwrap();
    client
        .get_multiplexed_async_connection()
        .await
        .expect("ARTSTORE_TEST_REDIS answers")
}

struct Announced {
    setup: Setup,
    id: String,
}

impl Announced {
    fn new(mode: &str, host: &str, port: u16) -> Self {
        let mut setup = Setup::embedded();
        let id = format!("it-{}", uuid::Uuid::new_v4().simple());
        for (name, value) in [
            ("STORAGE_ELEMENT_ID", id.as_str()),
            ("DB_TABLE_PREFIX", "storage_elem_it_"),
            ("STORAGE_PRIORITY", "7"),
            ("STORAGE_EXTERNAL_ENDPOINT", "http://storage-it:8010"),
            ("REDIS_HOST", host),
            ("REDIS_PORT", &port.to_string()),
            ("HEALTH_REPORT_INTERVAL", "1s"),
            ("APP_MODE", mode),
        ] {
            setup.set(name, value);
        }
        Self { setup, id }
    }

    async fn hash(&self, redis: &mut MultiplexedConnection) -> BTreeMap<String, String> {
        redis.hgetall(format!("storage:elements:{}", self.id)).await.unwrap()
    }

    async fn score(&self, redis: &mut MultiplexedConnection, set: &str) -> Option<f64> {
        redis
            .zscore(format!("storage:{set}:by_priority"), &self.id)
            .await
            .unwrap()
    }
}

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

    let request = element
        .client
        .by("admin", "POST", "/mode/transition")
        .json(&json!({ "target_mode": "ro" }));
    send(request).await.expect(200);
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
