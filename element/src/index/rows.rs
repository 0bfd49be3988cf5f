//! Metadata and log entries as the JSON rows that statements take.

use std::collections::BTreeMap;

use element_api::FileMetadata;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::IndexError;
use super::search::text_of;
use super::sql::time_text;
use crate::wal::WalRecord;

/// The metadata as a row: every column present, times with all their digits, and what search needs.
pub(super) fn file_row(file: &FileMetadata) -> Result<Value, IndexError> {
    let mut row = object(file)?;
    set_times(
        &mut row,
        &[
            ("created_at", Some(file.created_at)),
            ("updated_at", Some(file.updated_at)),
            ("expires_at", file.expires_at),
        ],
    );
    let metadata_text: BTreeMap<_, _> = file
        .metadata
        .iter()
        .map(|(key, value)| (key, value.as_text()))
        .collect();
    row.insert("metadata_text".to_owned(), json!(metadata_text));
    row.insert("search_text".to_owned(), text_of(file).into());
    Ok(Value::Object(row))
}

pub(super) fn wal_row(record: &WalRecord) -> Result<Value, IndexError> {
    let mut row = object(record)?;
    set_times(
        &mut row,
        &[
            ("started_at", Some(record.started_at)),
            ("completed_at", record.completed_at),
        ],
    );
    Ok(Value::Object(row))
}

fn object(value: &impl serde::Serialize) -> Result<Map<String, Value>, IndexError> {
    match serde_json::to_value(value)? {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

fn set_times(row: &mut Map<String, Value>, times: &[(&str, Option<Timestamp>)]) {
    for (name, time) in times {
        row.insert((*name).to_owned(), time.map(time_text).into());
    }
}
