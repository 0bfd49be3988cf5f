//! Logs: one line an event on standard error, as JSON or as text.

mod json;

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
            .fmt_fields(json::Members)
            .event_format(json::Line)
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
    use serde_json::{Value, json};
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

    /// What is logged meanwhile.
    fn logged(format: LogFormat, doing: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let level = Level::INFO;
        let subscriber = subscriber(LogConfig { level, format }, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, doing);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_have_what_was_said_of_event_and_span() {
        let text = logged(LogFormat::Json, || {
            let span = tracing::error_span!("request", path = "/a\"\n", late = tracing::field::Empty);
            span.record("late", 7);
            let error = io::Error::other("no \\ room");
            span.in_scope(
                || tracing::warn!(count = 1_u64, share = 0.5, r#type = true, below = -1, %error, "said {}", "\u{1}ж"),
            );
            tracing::info!(nan = f64::NAN, "alone");
        });
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [within, alone] = &lines[..] else { panic!("{text}") };
        let mut expected = json!({
            "level": "WARN", "message": "said \u{1}ж", "count": 1, "share": 0.5, "type": true, "below": -1,
            "error": "no \\ room", "target": "artstore_element::telemetry::tests",
            "span": {"name": "request", "path": "/a\"\n", "late": 7},
        });
        expected["timestamp"] = within["timestamp"].clone();
        assert_eq!(*within, expected);
        assert!(within["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!((&alone["nan"], alone.get("span")), (&Value::Null, None));
    }

    #[test]
    fn json_line_of_the_log_crate_names_who_spoke() {
        let text = logged(LogFormat::Json, || {
            let record = log::Record::builder()
                .target("library")
                .level(log::Level::Warn)
                .args(format_args!("told"))
                .build();
            LogTracer::new().log(&record);
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["target"], &line["message"]), (&json!("library"), &json!("told")));
    }

    #[test]
    fn no_event_is_lost_after_a_library_asked_whether_it_may_speak() {
        let text = logged(LogFormat::Text, || {
            let question = log::Metadata::builder()
                .target("library")
                .level(log::Level::Info)
                .build();
            let _answer = LogTracer::new().enabled(&question);
            tracing::info!("told");
        });
        assert!(text.contains("told"), "{text:?}");
    }
}
