//! Logs: one line an event on standard error, as JSON or as text.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{LogConfig, LogFormat};

/// Starts logging; the first call in a process wins.
pub(crate) fn init(config: LogConfig) {
    // Libraries only speak up when something is wrong, unless everything was asked for.
    let others = if config.level == tracing::Level::TRACE {
        config.level
    } else {
        tracing::Level::WARN
    };
    let filter = Targets::new()
        .with_target("artstore_element", config.level)
        .with_default(others);
    let layer = match config.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(stderr)
            .boxed(),
        LogFormat::Text => fmt::layer()
            .with_ansi(stderr().is_terminal())
            .with_writer(stderr)
            .boxed(),
    };
    // INVARIANT: fails only when logging was started before, which then goes on.
    let _ = registry().with(layer.with_filter(filter)).try_init();
}
