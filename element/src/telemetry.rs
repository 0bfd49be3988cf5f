//! Logs: one line an event on standard error, as JSON or as text.

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{LogConfig, LogFormat};

/// Starts logging; the first call in a process wins.
pub(crate) fn init(config: LogConfig) {
    // INVARIANT: fails only when logging was started before, which then goes on.
    let _ = subscriber(config, stderr, stderr().is_terminal()).try_init();
}

fn subscriber<W>(config: LogConfig, writer: W, ansi: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
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
            .with_writer(writer)
            .boxed(),
        LogFormat::Text => fmt::layer().with_ansi(ansi).with_writer(writer).boxed(),
    };
    // The filter stands before the layer, not in it: a layer's own filter keeps its last verdict per thread, and one asked for
    // through `log_enabled!`, as database drivers do, loses the thread's next event.
    registry().with(filter).with(layer)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use log::Log;
    use tracing::Level;
    use tracing_log::LogTracer;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_event_is_lost_after_a_library_asked_whether_it_may_speak() {
        let sink = Sink::default();
        let writer = sink.clone();
        let config = LogConfig {
            level: Level::INFO,
            format: LogFormat::Text,
        };
        let subscriber = subscriber(config, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            let question = log::Metadata::builder()
                .target("library")
                .level(log::Level::Info)
                .build();
            let _answer = LogTracer::new().enabled(&question);
            tracing::info!("told");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("told"), "{text:?}");
    }
}
