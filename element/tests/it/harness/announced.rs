//! An element that announces itself in Redis, and what stands there of it.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, ConnectionAddr, IntoConnectionInfo};

use super::Setup;

pub(crate) fn server() -> (String, u16) {
    let url = std::env::var("ARTSTORE_TEST_REDIS")
        .expect("ARTSTORE_TEST_REDIS must be the URL of a Redis server; `make test` sets it");
    match url.as_str().into_connection_info().unwrap().addr() {
        ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
        other => panic!("ARTSTORE_TEST_REDIS must be reached by TCP, not {other}"),
    }
}

pub(crate) async fn redis() -> MultiplexedConnection {
    let (host, port) = server();
    let client = redis::Client::open((host, port)).unwrap();
    client
        .get_multiplexed_async_connection()
        .await
        .expect("ARTSTORE_TEST_REDIS answers")
}

pub(crate) struct Announced {
    pub(crate) setup: Setup,
    pub(crate) id: String,
}

impl Announced {
    pub(crate) fn new(mode: &str, host: &str, port: u16) -> Self {
        Self::over(Setup::embedded(), mode, host, port)
    }

    pub(crate) fn over(mut setup: Setup, mode: &str, host: &str, port: u16) -> Self {
        let id = format!("it-{}", uuid::Uuid::new_v4().simple());
        for (name, value) in [
            ("STORAGE_ELEMENT_ID", id.as_str()),
            ("DB_TABLE_PREFIX", "storage_elem_it_"),
            ("STORAGE_PRIORITY", "7"),
            // However full the disk of the test is.
            ("STORAGE_MAX_SIZE", "1Gi"),
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

    /// One that is told of Redis later.
    pub(crate) fn nowhere(mode: &str) -> Self {
        Self::new(mode, "127.0.0.1", 1)
    }

    pub(crate) fn key(&self) -> String {
        format!("storage:elements:{}", self.id)
    }

    pub(crate) async fn hash(&self, redis: &mut impl AsyncCommands) -> BTreeMap<String, String> {
        redis.hgetall(self.key()).await.unwrap()
    }

    pub(crate) async fn score(&self, redis: &mut impl AsyncCommands, set: &str) -> Option<f64> {
        redis
            .zscore(format!("storage:{set}:by_priority"), &self.id)
            .await
            .unwrap()
    }
}
