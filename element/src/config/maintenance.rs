//! How the element looks after its files: how often, and how fast.

use std::time::Duration;

use super::ConfigError;
use super::args::MaintenanceArgs;
use super::value::{Value, parse_duration};

const DEFAULT_GC_INTERVAL: Duration = Duration::from_secs(3600);
const MIN_GC_INTERVAL: Duration = Duration::from_secs(1);
const MAX_GC_INTERVAL: Duration = Duration::from_secs(30 * 24 * 3600);

const DEFAULT_SCRUB_INTERVAL: Duration = Duration::from_secs(7 * 24 * 3600);
const MIN_SCRUB_INTERVAL: Duration = Duration::from_secs(3600);
const MAX_SCRUB_INTERVAL: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes a second; a disk that turns reads five times as much.
const DEFAULT_SCRUB_RATE: u64 = 20 << 20;

/// How often, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaintenanceConfig {
    pub(crate) gc_interval: Duration,
    /// None: only when somebody asks.
    pub(crate) scrub_interval: Option<Duration>,
    pub(crate) scrub_rate: u64,
}

impl MaintenanceConfig {
    pub(super) fn read(args: MaintenanceArgs) -> Result<Self, ConfigError> {
        let gc_interval = Value::new("STORAGE_GC_INTERVAL", args.storage_gc_interval)?
            .duration(MIN_GC_INTERVAL, MAX_GC_INTERVAL)?
            .unwrap_or(DEFAULT_GC_INTERVAL);
        let scrub_interval = Value::new("STORAGE_SCRUB_INTERVAL", args.storage_scrub_interval)?
            .read(|text| match (text, parse_duration(text)) {
                ("off", _) => Ok(None),
                (_, Ok(time)) if (MIN_SCRUB_INTERVAL..=MAX_SCRUB_INTERVAL).contains(&time) => Ok(Some(time)),
                _ => Err("use a duration from 1h to 8760h, or off"),
            })?
            .unwrap_or(Some(DEFAULT_SCRUB_INTERVAL));
        let scrub_rate = Value::new("STORAGE_SCRUB_RATE", args.storage_scrub_rate)?.size()?;
        Ok(Self {
            gc_interval,
            scrub_interval,
            scrub_rate: scrub_rate.unwrap_or(DEFAULT_SCRUB_RATE),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::MaintenanceConfig;
    use crate::config::args::MaintenanceArgs;

    fn read(gc: Option<&str>, scrub: Option<&str>, rate: Option<&str>) -> Result<MaintenanceConfig, String> {
        let args = MaintenanceArgs {
            storage_gc_interval: gc.map(str::to_owned),
            storage_scrub_interval: scrub.map(str::to_owned),
            storage_scrub_rate: rate.map(str::to_owned),
        };
        MaintenanceConfig::read(args).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read_and_have_defaults() {
        let config = read(None, None, None).unwrap();
        assert_eq!(config.gc_interval, Duration::from_secs(3600));
        assert_eq!(config.scrub_interval, Some(Duration::from_secs(604_800)));
        assert_eq!(config.scrub_rate, 20_971_520);
        let config = read(Some("5m"), Some("off"), Some("1M")).unwrap();
        assert_eq!(config.gc_interval, Duration::from_secs(300));
        assert_eq!((config.scrub_interval, config.scrub_rate), (None, 1_000_000));
    }

    #[test]
    fn bad_values_name_their_variable() {
        for (gc, scrub, rate, variable) in [
            (Some("0"), None, None, "STORAGE_GC_INTERVAL"),
            (Some("off"), None, None, "STORAGE_GC_INTERVAL"),
            (None, Some("5m"), None, "STORAGE_SCRUB_INTERVAL"),
            (None, Some("never"), None, "STORAGE_SCRUB_INTERVAL"),
            (None, None, Some("0"), "STORAGE_SCRUB_RATE"),
            (None, None, Some("fast"), "STORAGE_SCRUB_RATE"),
        ] {
            assert!(read(gc, scrub, rate).unwrap_err().starts_with(variable), "{variable}");
        }
    }
}
