//! `GET /files` and `GET /files/search`: one page of the files that match.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use element_api::{Operation, Page};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::extract::{allow, files};
use super::openapi::failures;
use crate::index::{Search, Sort};
use crate::state::App;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1000;

failures!(Failures: ValidationError, Unauthorized, Forbidden, Unavailable);

/// What may be asked; everything given must hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes, and is never made")]
struct Filters {
    /// Labels, with commas between; the file must have all of them.
    #[param(value_type = String, required = false, pattern = "^[^\\u0000]*$")]
    tags: Option<String>,
    /// The user name of whoever stored the file.
    #[param(value_type = String, required = false, pattern = "^[^\\u0000]*$")]
    uploaded_by: Option<String>,
    /// The media type.
    #[param(value_type = String, required = false, pattern = "^[^\\u0000]*$")]
    content_type: Option<String>,
    /// Bytes at the least.
    #[param(value_type = u64, required = false)]
    min_size: Option<u64>,
    /// Bytes at the most.
    #[param(value_type = u64, required = false)]
    max_size: Option<u64>,
    /// A time or a date: stored then or later.
    #[param(value_type = String, required = false, format = DateTime)]
    created_after: Option<String>,
    /// A time or a date: stored before.
    #[param(value_type = String, required = false, format = DateTime)]
    created_before: Option<String>,
    /// The value of KEY in the file's metadata, as text. KEY stands for any name; several may be asked for.
    #[param(rename = "metadata.KEY", value_type = String, required = false, pattern = "^[^\\u0000]*$")]
    metadata: Option<String>,
    /// What the list is ordered by; `created_at` when absent.
    #[param(value_type = Sort, required = false, inline)]
    sort: Option<Sort>,
    /// Which end comes first; `desc` when absent.
    #[param(value_type = Order, required = false, inline)]
    order: Option<Order>,
    /// Files on a page.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, with the same order.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// The words of a search.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes, and is never made")]
struct Words {
    /// Words that name, description or tags must have, each as the beginning of a word; up to 64.
    #[param(value_type = String, required = false, pattern = "^[^\\u0000]*$")]
    q: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes, and is never made")]
enum Order {
    Asc,
    Desc,
}

/// Lists files.
#[utoipa::path(
    get,
    path = "/files",
    operation_id = "list",
    tag = "files",
    params(Filters),
    responses((status = 200, description = "One page of the files that match.", body = Page), Failures)
)]
pub(super) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Page>, ApiError> {
    allow(&app, &headers, Operation::Search).await?;
    let search = read(query.as_deref().unwrap_or_default())?;
    if search.q.is_some() {
        return Err(ApiError::validation("q is for /files/search"));
    }
    Ok(Json(files(&app)?.search(&search).await?))
}

/// Finds files.
#[utoipa::path(
    get,
    path = "/files/search",
    operation_id = "search",
    tag = "files",
    params(Words, Filters),
    responses((status = 200, description = "One page of the files that match.", body = Page), Failures)
)]
pub(super) async fn search(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Page>, ApiError> {
    allow(&app, &headers, Operation::Search).await?;
    let search = read(query.as_deref().unwrap_or_default())?;
    Ok(Json(files(&app)?.search(&search).await?))
}

/// Reads the query. A parameter nobody knows is an error: leaving it out would answer another question.
pub(super) fn read(query: &str) -> Result<Search, ApiError> {
    let mut search = Search {
        descending: true,
        limit: DEFAULT_LIMIT,
        ..Search::default()
    };
    let mut seen = BTreeSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if name != "tags" && !seen.insert(name.clone()) {
            return Err(ApiError::validation(format!("{name} is there twice")));
        }
        if name.contains('\0') || value.contains('\0') {
            return Err(ApiError::validation(format!("{name} holds the character NUL")));
        }
        set(&mut search, &name, &value)?;
    }
    if search.tags.len() + search.metadata.len() > MAX_FILTERS {
        return Err(ApiError::validation(format!(
            "at most {MAX_FILTERS} tags and metadata values may be asked for"
        )));
    }
    search
        .check_words()
        .map_err(|error| ApiError::validation(format!("q: {error}")))?;
    search
        .check_cursor()
        .map_err(|error| ApiError::validation(format!("cursor: {error}")))?;
    Ok(search)
}

fn set(search: &mut Search, name: &str, value: &str) -> Result<(), ApiError> {
    let bad = |what: &str| ApiError::validation(format!("{name}={value:?}: {what}"));
    match name {
        "q" => search.q = Some(value.to_owned()).filter(|words| !words.trim().is_empty()),
        "tags" => {
            let tags = value.split(',').map(str::trim).filter(|tag| !tag.is_empty());
            search.tags.extend(tags.map(str::to_owned));
        }
        "uploaded_by" => search.uploaded_by = Some(value.to_owned()),
        "content_type" => search.content_type = Some(value.to_owned()),
        "min_size" => search.min_size = Some(bytes(value).ok_or_else(|| bad(BYTES))?),
        "max_size" => search.max_size = Some(bytes(value).ok_or_else(|| bad(BYTES))?),
        "created_after" => search.created_after = Some(time(value).ok_or_else(|| bad(TIME))?),
        "created_before" => search.created_before = Some(time(value).ok_or_else(|| bad(TIME))?),
        "sort" => {
            search.sort = value
                .parse()
                .map_err(|_| bad("use created_at, file_size or original_filename"))?;
        }
        "order" => {
            search.descending = match value {
                "desc" => true,
                "asc" => false,
                _ => return Err(bad("use asc or desc")),
            };
        }
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            search.limit = limit.ok_or_else(|| bad("use a number from 1 to 1000"))?;
        }
        "cursor" => search.cursor = Some(value.parse().map_err(|_| bad("pass next_cursor as it came"))?),
        _ => match name.strip_prefix("metadata.").filter(|key| !key.is_empty()) {
            Some(key) => {
                search.metadata.insert(key.to_owned(), value.to_owned());
            }
            None => return Err(ApiError::validation(format!("there is no parameter {name}"))),
        },
    }
    Ok(())
}

/// Tags and metadata values in one search, at the most.
const MAX_FILTERS: usize = 64;

const BYTES: &str = "use a number of bytes";

/// A size the databases can hold, which is every size a file can have.
fn bytes(text: &str) -> Option<u64> {
    text.parse().ok().filter(|bytes| i64::try_from(*bytes).is_ok())
}

const TIME: &str = "use a time such as 2026-01-31T12:00:00Z, or a date";

/// A time with its offset, or a date, which begins at midnight UTC.
fn time(text: &str) -> Option<Timestamp> {
    // A plus that was not encoded arrives as a space.
    let text = text.replace(' ', "+");
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<Date>().ok().and_then(midnight))
        .filter(|time| time.to_zoned(TimeZone::UTC).year() >= 1)
}

fn decode(text: &str) -> Result<String, ApiError> {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| ApiError::validation("the query is not UTF-8 text"))
}

#[cfg(test)]
mod tests;
