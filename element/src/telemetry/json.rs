//! Log lines as JSON, one object each: `{"timestamp":…,"level":…,FIELDS,"target":…,"span":{"name":…,FIELDS}}`. The library's own
//! format has the same members, but parses the fields of a span again for every line, and there is a line for every request.

use std::fmt::{self, Debug};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Fields as members that follow others: `,"name":value` each.
pub(super) struct Members;

/// One event in one line.
pub(super) struct Line;

impl<'writer> FormatFields<'writer> for Members {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = Text::default();
        fields.record(&mut text);
        text.send(&mut writer)
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> FormatEvent<S, Members> for Line {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Members>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // What comes from the `log` crate has its metadata among its fields.
        let normalized = event.normalized_metadata();
        let about = normalized.as_ref().unwrap_or_else(|| event.metadata());
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_char('"')?;
        let mut text = Text::default();
        text.member("level", about.level().as_str());
        event.record(&mut text);
        text.member("target", about.target());
        text.send(&mut writer)?;
        let span = event.parent().and_then(|id| context.span(id));
        if let Some(span) = span.or_else(|| context.lookup_current()) {
            write!(writer, ",\"span\":{{\"name\":\"{}\"", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<Members>>() {
                writer.write_str(fields)?;
            }
            writer.write_char('}')?;
        }
        writer.write_str("}\n")
    }
}

/// Members being written. Formatting them fails only for a value that cannot be displayed, and then the line is not written.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    failed: bool,
}

impl Text {
    fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.bytes.extend_from_slice(b",\"");
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
        self.failed |= serde_json::to_writer(&mut self.bytes, value).is_err();
    }

    fn send(self, writer: &mut Writer<'_>) -> fmt::Result {
        match String::from_utf8(self.bytes) {
            Ok(text) if !self.failed => writer.write_str(&text),
            _ => Err(fmt::Error),
        }
    }
}

/// The name a field has in the source: one that is a keyword of the language is written with a mark there.
fn name_of(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

impl Visit for Text {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(name_of(field), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(name_of(field), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(name_of(field), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(name_of(field), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(name_of(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.member(name_of(field), &format_args!("{value:?}"));
    }
}
