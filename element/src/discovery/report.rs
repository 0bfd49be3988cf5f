//! What is told of an element: the keys, their fields, and the commands that write them. The names are the contract's.

use element_api::{Capacity, CapacityStatus, Mode};
use jiff::Timestamp;
use redis::Pipeline;

/// Seconds after which Redis forgets an element that no longer reports.
pub(super) const TTL_SECONDS: i64 = 90;

/// The sorted sets of elements that take new files, by the mode that lets them.
const SETS: [(Mode, &str); 2] = [
    (Mode::Rw, "storage:rw:by_priority"),
    (Mode::Edit, "storage:edit:by_priority"),
];

/// What one report says.
pub(super) struct Report<'a> {
    pub(super) id: &'a str,
    pub(super) mode: Mode,
    pub(super) capacity: Capacity,
    pub(super) endpoint: &'a str,
    pub(super) priority: i64,
    pub(super) healthy: bool,
    pub(super) at: Timestamp,
}

fn key(id: &str) -> String {
    format!("storage:elements:{id}")
}

impl Report<'_> {
    /// One pipeline a key, since a cluster may keep each elsewhere. The hash comes first: whoever finds the element in a set
    /// finds its hash too, and whoever finds it in a set it must leave reads there that it takes no files.
    pub(super) fn pipelines(&self) -> Vec<Pipeline> {
        let key = key(self.id);
        let mut hash = redis::pipe();
        hash.atomic();
        hash.hset_multiple(&key, &self.fields()).ignore();
        hash.expire(&key, TTL_SECONDS).ignore();
        let sets = SETS.into_iter().map(|(mode, set)| {
            let mut pipeline = redis::pipe();
            if self.takes_files() && self.mode == mode {
                pipeline.zadd(set, self.id, self.priority).ignore();
            } else {
                pipeline.zrem(set, self.id).ignore();
            }
            pipeline
        });
        std::iter::once(hash).chain(sets).collect()
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

/// Takes the element out of everything it is in; out of the sets first, so that nobody finds it there without its hash.
pub(super) fn leave(id: &str) -> Vec<Pipeline> {
    let sets = SETS.into_iter().map(|(_, set)| {
        let mut pipeline = redis::pipe();
        pipeline.zrem(set, id).ignore();
        pipeline
    });
    let mut hash = redis::pipe();
    hash.del(key(id)).ignore();
    sets.chain(std::iter::once(hash)).collect()
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
        words(&report.pipelines())
    }

    fn words(pipelines: &[redis::Pipeline]) -> Vec<String> {
        pipelines
            .iter()
            .flat_map(redis::Pipeline::cmd_iter)
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
            "threshold_warning 100",
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

    #[test]
    fn every_pipeline_is_about_one_key() {
        let report = Report {
            id: "01",
            mode: Mode::Edit,
            capacity: Capacity::new(1000, 500, 500),
            endpoint: "http://storage-01:8010",
            priority: 7,
            healthy: true,
            at: Timestamp::UNIX_EPOCH,
        };
        for pipeline in report.pipelines().into_iter().chain(leave("01")) {
            let commands = words(std::slice::from_ref(&pipeline));
            let key = |command: &String| command.split(' ').nth(1).unwrap().to_owned();
            let keys: std::collections::BTreeSet<String> = commands.iter().map(key).collect();
            assert_eq!(keys.len(), 1, "{commands:?}");
        }
    }
}
