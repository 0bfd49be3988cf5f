//! The fields of an upload's form, read one by one into [`Details`]. A field nobody knows is an error: it was meant to do something.

use std::collections::{BTreeMap, BTreeSet};

use element_api::{MetadataValue, RetentionPolicy};
use serde_json::Value;
use uuid::Uuid;

use super::error::ApiError;
use super::multipart::Part;
use crate::files::Details;

/// The part that holds the content.
pub(super) const FILE: &str = "file";

/// The largest text field; all attributes together take 4 KiB at the most.
const MAX_FIELD: usize = 16 * 1024;

/// Tags may come in several fields of that name; no more than this many fields in all.
const MAX_FIELDS: usize = 256;

/// What is known of the file so far.
#[derive(Default)]
pub(super) struct Form {
    pub(super) details: Details,
    seen: BTreeSet<String>,
    fields: usize,
}

impl Form {
    /// Takes the head of the content's part.
    pub(super) fn file(&mut self, part: &Part) -> Result<(), ApiError> {
        self.once(FILE)?;
        let filename = part.filename.as_deref().filter(|name| !name.is_empty());
        let filename = filename.ok_or_else(|| ApiError::validation("part \"file\" has no filename"))?;
        self.details.filename = filename.to_owned();
        self.details.content_type = part
            .content_type
            .clone()
            .or_else(|| mime_guess::from_path(filename).first_raw().map(str::to_owned));
        Ok(())
    }

    /// Takes a text field.
    pub(super) async fn field(&mut self, part: Part) -> Result<(), ApiError> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(ApiError::validation("the form has too many fields"));
        }
        let name = part.name.clone();
        if name != "tags" {
            self.once(&name)?;
        }
        if !is_known(&name) {
            return Err(ApiError::validation(format!("the form has an unknown field {name:?}")));
        }
        let text = part.text(MAX_FIELD).await?;
        self.set(&name, text)
    }

    pub(super) fn set(&mut self, name: &str, text: String) -> Result<(), ApiError> {
        let details = &mut self.details;
        match name {
            "description" => details.description = filled(text),
            "version" => details.version = filled(text),
            "tags" => details.tags.extend(tags(&text)?),
            "metadata" => details.metadata = metadata(&text)?,
            "file_id" => {
                let id =
                    Uuid::try_parse(text.trim()).map_err(|_| ApiError::validation("field \"file_id\" is no UUID"))?;
                details.file_id = Some(id);
            }
            "retention_policy" => details.retention_policy = retention(text.trim())?,
            "ttl_days" => {
                let days = text
                    .trim()
                    .parse()
                    .map_err(|_| ApiError::validation("field \"ttl_days\" is no number of days"))?;
                details.ttl_days = Some(days);
            }
            _ => details.checksum = Some(checksum(text.trim())?),
        }
        Ok(())
    }

    fn once(&mut self, name: &str) -> Result<(), ApiError> {
        if self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        Err(ApiError::validation(format!("the form has field {name:?} twice")))
    }
}

fn is_known(name: &str) -> bool {
    let names = [
        "description",
        "version",
        "tags",
        "metadata",
        "file_id",
        "retention_policy",
        "ttl_days",
        "checksum",
    ];
    names.contains(&name)
}

/// An empty field says nothing.
fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// A JSON array of strings, or words with commas between.
fn tags(text: &str) -> Result<Vec<String>, ApiError> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|_| ApiError::validation("field \"tags\" is no JSON array of strings"));
    }
    Ok(text
        .split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .map(str::to_owned)
        .collect())
}

fn metadata(text: &str) -> Result<BTreeMap<String, MetadataValue>, ApiError> {
    let value: Value =
        serde_json::from_str(text).map_err(|_| ApiError::validation("field \"metadata\" is no JSON object"))?;
    let Value::Object(entries) = value else {
        return Err(ApiError::validation("field \"metadata\" is no JSON object"));
    };
    entries
        .into_iter()
        .map(|(key, value)| match metadata_value(value) {
            Some(value) => Ok((key, value)),
            None => Err(flat(&key)),
        })
        .collect()
}

/// A value metadata may hold.
pub(super) fn metadata_value(value: Value) -> Option<MetadataValue> {
    match value {
        Value::Bool(value) => Some(MetadataValue::Bool(value)),
        Value::Number(value) => Some(MetadataValue::Number(value)),
        Value::String(value) => Some(MetadataValue::Text(value)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(super) fn flat(key: &str) -> ApiError {
    ApiError::validation(format!(
        "metadata is a flat object of strings, numbers and booleans; {key:?} is none of these"
    ))
}

fn retention(text: &str) -> Result<RetentionPolicy, ApiError> {
    match text {
        "permanent" => Ok(RetentionPolicy::Permanent),
        "temporary" => Ok(RetentionPolicy::Temporary),
        _ => Err(ApiError::validation(
            "field \"retention_policy\" is neither permanent nor temporary",
        )),
    }
}

fn checksum(text: &str) -> Result<String, ApiError> {
    let is_sha256 = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha256
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| ApiError::validation("field \"checksum\" is no sha256 of 64 hex digits"))
}

#[cfg(test)]
mod tests;
