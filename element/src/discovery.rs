//! Discovery: tells clients through Redis where the element is and how it stands. Redis away costs nothing but that: reports are
//! tried again at the next turn, and the log says so once when it goes and once when it comes back.

use std::time::Duration;

use element_api::{Capacity, CapacityStatus, Mode};
use jiff::Timestamp;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::config::RedisConfig;
use crate::files::Files;
use crate::state::App;

/// Seconds after which Redis forgets an element that no longer reports.
const TTL_SECONDS: i64 = 90;

/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The sorted sets of elements that take new files, by the mode that lets them.
const SETS: [(Mode, &str); 2] = [
    (Mode::Rw, "storage:rw:by_priority"),
    (Mode::Edit, "storage:edit:by_priority"),
];

/// What one report says.
struct Report<'a> {
    id: &'a str,
    mode: Mode,
    capacity: Capacity,
    endpoint: &'a str,
    priority: i64,
    healthy: bool,
    at: Timestamp,
}

/// Reports until the server stops, then takes the element out.
pub(crate) async fn report(config: RedisConfig, app: App, files: Files, endpoint: String, stopping: CancellationToken) {
    let mut connection = match connect(&config) {
        Ok(connection) => connection,
        Err(error) => return tracing::error!(%error, "failed to set up discovery; the element is not announced"),
    };
    let mut changes = app.modes().subscribe();
    let mut reachable = true;
    loop {
        changes.mark_unchanged();
        let about = app.about();
        let report = Report {
            id: &about.element_id,
            mode: app.modes().current(),
            capacity: files.capacity(),
            endpoint: &endpoint,
            priority: about.priority,
            healthy: files.writable().is_ok() && files.index().ping().await.is_ok(),
            at: Timestamp::now(),
        };
        let result = report.pipeline().query_async::<()>(&mut connection).await;
        app.metrics().reported(result.is_ok());
        match &result {
            Err(error) if reachable => tracing::warn!(%error, "Redis is away: the element is not announced"),
            Ok(()) if !reachable => tracing::info!("Redis is back: the element is announced"),
            _ => {}
        }
        reachable = result.is_ok();
        tokio::select! {
            () = stopping.cancelled() => break,
            _ = changes.changed() => {}
            () = tokio::time::sleep(config.interval) => {}
        }
    }
    let left = leave(&app.about().element_id).query_async::<()>(&mut connection).await;
    if let Err(error) = left {
        tracing::warn!(%error, "failed to leave discovery; the element is forgotten in {TTL_SECONDS} seconds");
    }
}

fn connect(config: &RedisConfig) -> Result<ConnectionManager, RedisError> {
    let mut settings = RedisConnectionInfo::default();
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose_secret());
    }
    let address = ConnectionAddr::Tcp(config.host.clone(), config.port);
    let client = Client::open(address.into_connection_info()?.set_redis_settings(settings))?;
    let manager = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
        .set_number_of_retries(1);
    ConnectionManager::new_lazy_with_config(client, manager)
}

fn key(id: &str) -> String {
    format!("storage:elements:{id}")
}

impl Report<'_> {
    fn pipeline(&self) -> Pipeline {
        let key = key(self.id);
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.hset_multiple(&key, &self.fields()).ignore();
        pipeline.expire(&key, TTL_SECONDS).ignore();
        for (mode, set) in SETS {
            if self.takes_files() && self.mode == mode {
                pipeline.zadd(set, self.id, self.priority).ignore();
            } else {
                pipeline.zrem(set, self.id).ignore();
            }
        }
        pipeline
    }

    fn takes_files(&self) -> bool {
        self.capacity.status != CapacityStatus::Full
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let Capacity {
            total_bytes,
            used_bytes,
            free_bytes,
            percent,
            status,
            thresholds,
        } = self.capacity;
        vec![
            ("id", self.id.to_owned()),
            ("mode", self.mode.to_string()),
            ("capacity_total", total_bytes.to_string()),
            ("capacity_used", used_bytes.to_string()),
            ("capacity_free", free_bytes.to_string()),
            ("capacity_percent", percent.to_string()),
            ("endpoint", self.endpoint.to_owned()),
            ("priority", self.priority.to_string()),
            ("last_updated", self.at.to_string()),
            (
                "health_status",
                if self.healthy { "healthy" } else { "degraded" }.to_owned(),
            ),
            ("capacity_status", status.as_str().to_owned()),
            ("threshold_warning", thresholds.warning.to_string()),
            ("threshold_critical", thresholds.critical.to_string()),
            ("threshold_full", thresholds.full.to_string()),
        ]
    }
}

/// Takes the element out of everything it is in.
fn leave(id: &str) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for (_, set) in SETS {
        pipeline.zrem(set, id).ignore();
    }
    pipeline.del(key(id)).ignore();
    pipeline
}

#[cfg(test)]
mod tests {
    use element_api::{Capacity, Mode};
    use jiff::Timestamp;

    use super::{Report, leave};

    fn commands(mode: Mode, free: u64) -> Vec<String> {
        let report = Report {
            id: "01",
            mode,
            capacity: Capacity::new(1000, 1000 - free, free),
            endpoint: "http://storage-01:8010",
            priority: 7,
            healthy: true,
            at: Timestamp::UNIX_EPOCH,
        };
        words(&report.pipeline())
    }

    fn words(pipeline: &redis::Pipeline) -> Vec<String> {
        pipeline
            .cmd_iter()
            .map(|command| {
                let words = command.args_iter().map(|argument| match argument {
                    redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    _ => "?".to_owned(),
                });
                words.collect::<Vec<_>>().join(" ")
            })
            .collect()
    }

    #[test]
    fn element_is_in_the_set_of_its_mode_only_while_it_takes_files() {
        let has = |commands: &[String], command: &str| commands.iter().any(|one| one == command);
        let edit = commands(Mode::Edit, 500);
        assert!(has(&edit, "ZADD storage:edit:by_priority 7 01") && has(&edit, "ZREM storage:rw:by_priority 01"));
        let rw = commands(Mode::Rw, 500);
        assert!(has(&rw, "ZADD storage:rw:by_priority 7 01") && has(&rw, "ZREM storage:edit:by_priority 01"));
        for commands in [
            commands(Mode::Ro, 500),
            commands(Mode::Ar, 500),
            commands(Mode::Rw, 0),
            commands(Mode::Edit, 0),
        ] {
            assert!(
                !commands.iter().any(|command| command.starts_with("ZADD")),
                "{commands:?}"
            );
            assert!(
                has(&commands, "ZREM storage:rw:by_priority 01") && has(&commands, "ZREM storage:edit:by_priority 01")
            );
        }
    }

    #[test]
    fn hash_has_the_contract_fields_and_expires() {
        let commands = commands(Mode::Edit, 500);
        let hash = commands
            .iter()
            .find(|command| command.starts_with("HMSET storage:elements:01"))
            .unwrap();
        for field in [
            "id 01",
            "mode edit",
            "capacity_total 1000",
            "capacity_used 500",
            "capacity_free 500",
            "capacity_percent 50",
            "endpoint http://storage-01:8010",
            "priority 7",
            "last_updated 1970-01-01T00:00:00Z",
            "health_status healthy",
            "capacity_status ok",
            "threshold_warning 150",
            "threshold_critical 80",
            "threshold_full 20",
        ] {
            assert!(hash.contains(field), "{field} in {hash}");
        }
        assert!(
            commands.contains(&"EXPIRE storage:elements:01 90".to_owned()),
            "{commands:?}"
        );
    }

    #[test]
    fn leaving_takes_the_element_out_of_everything() {
        let left = words(&leave("01"));
        for command in [
            "ZREM storage:rw:by_priority 01",
            "ZREM storage:edit:by_priority 01",
            "DEL storage:elements:01",
        ] {
            assert!(left.iter().any(|one| one == command), "{left:?}");
        }
    }
}
