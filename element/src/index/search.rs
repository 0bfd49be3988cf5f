//! Searching: what a client may ask, the words a file is found by, and the clauses that answer it. Pure: no database here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use element_api::FileMetadata;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::dialect::Dialect;
use super::sql::{Parameter, Sql, Statement, time_text};

/// Words of a search, at the most: each is looked up in an index.
const MAX_WORDS: usize = 64;

/// Matches of filters that are counted at the most: a page must not cost more the more files there are.
const MAX_TOTAL: u64 = 10_000;

/// What a list is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// When the file was stored.
    #[default]
    CreatedAt,
    /// Bytes of content.
    FileSize,
    /// The client's name for it, by code points.
    OriginalFilename,
}

/// The text is no sort key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown sort key {0:?}: use created_at, file_size or original_filename")]
pub struct UnknownSort(String);

impl FromStr for Sort {
    type Err = UnknownSort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::CreatedAt, Self::FileSize, Self::OriginalFilename]
            .into_iter()
            .find(|sort| sort.column() == text)
            .ok_or_else(|| UnknownSort(text.to_owned()))
    }
}

impl Sort {
    const fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::FileSize => "file_size",
            Self::OriginalFilename => "original_filename",
        }
    }

    fn key(self, file: &FileMetadata) -> Key {
        match self {
            Self::CreatedAt => Key::Text(time_text(file.created_at)),
            Self::FileSize => Key::Integer(i64::try_from(file.file_size).unwrap_or(i64::MAX)),
            Self::OriginalFilename => Key::Text(file.original_filename.clone()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Key {
    Integer(i64),
    Text(String),
}

/// Where a page ended: the last file's sort key and id, so that pages neither repeat nor skip files while others come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    sort: Sort,
    descending: bool,
    key: Key,
    id: Uuid,
}

/// The text is no cursor this element gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one this element gave for this order")]
pub struct InvalidCursor;

/// The search has more words than it may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_WORDS} words may be looked for, and there are {0}")]
pub struct TooManyWords(usize);

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        formatter.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let cursor: Self = serde_json::from_slice(&bytes).map_err(|_| InvalidCursor)?;
        let fits = match (cursor.sort, &cursor.key) {
            (Sort::FileSize, Key::Integer(_)) => true,
            (Sort::CreatedAt, Key::Text(text)) => text
                .parse::<Timestamp>()
                .is_ok_and(|time| time_text(time) == *text && !text.starts_with('-')),
            (Sort::OriginalFilename, Key::Text(text)) => !text.contains('\0'),
            _ => false,
        };
        if fits { Ok(cursor) } else { Err(InvalidCursor) }
    }
}

/// What a client looks for. Every filter given must hold.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Words that name, description or tags must have, each as the beginning of a word.
    pub q: Option<String>,
    /// Labels the file must have, all of them.
    pub tags: Vec<String>,
    /// The user name of whoever stored it.
    pub uploaded_by: Option<String>,
    /// The media type.
    pub content_type: Option<String>,
    /// Bytes at the least.
    pub min_size: Option<u64>,
    /// Bytes at the most.
    pub max_size: Option<u64>,
    /// Stored at this time or later.
    pub created_after: Option<Timestamp>,
    /// Stored before this time.
    pub created_before: Option<Timestamp>,
    /// Values of the free metadata, as text.
    pub metadata: BTreeMap<String, String>,
    /// The order.
    pub sort: Sort,
    /// Largest first.
    pub descending: bool,
    /// Files on a page.
    pub limit: u32,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
}

impl Search {
    /// Whether the cursor, if any, belongs to this order.
    ///
    /// # Errors
    /// When it was given for another one.
    pub fn check_cursor(&self) -> Result<(), InvalidCursor> {
        match &self.cursor {
            Some(cursor) if cursor.sort != self.sort || cursor.descending != self.descending => Err(InvalidCursor),
            _ => Ok(()),
        }
    }

    /// Whether the words looked for, if any, are few enough.
    ///
    /// # Errors
    /// When there are more than 64.
    pub fn check_words(&self) -> Result<(), TooManyWords> {
        match self.q.as_deref().map_or(0, |q| words(q).len()) {
            0..=MAX_WORDS => Ok(()),
            count => Err(TooManyWords(count)),
        }
    }

    /// The cursor of a page that ends with `last`.
    pub(super) fn cursor_after(&self, last: &FileMetadata) -> Cursor {
        Cursor {
            sort: self.sort,
            descending: self.descending,
            key: self.sort.key(last),
            id: last.file_id,
        }
    }

    /// The statements that answer it. How many files there are in all is known, and need not be counted.
    pub(super) fn statements(&self, sql: &Sql) -> Statements {
        let mut clauses = Clauses::new(sql);
        self.filter(&mut clauses);
        let (count, max_total) = if clauses.conditions.is_empty() {
            (sql.known_files(), u64::MAX)
        } else {
            let count = sql.count_files(&clauses.text(), clauses.parameters.clone(), MAX_TOTAL + 1);
            (clauses.planned(count), MAX_TOTAL)
        };
        let column = self.sort.column();
        if let Some(cursor) = &self.cursor {
            let comparison = if self.descending { "<" } else { ">" };
            let key = match &cursor.key {
                Key::Integer(number) => clauses.bind(Parameter::Integer(*number)),
                Key::Text(text) => clauses.bind(Parameter::Text(text.clone())),
            };
            let key = if self.sort == Sort::CreatedAt {
                sql.dialect.time(&key)
            } else {
                key
            };
            let id = clauses.bind(Parameter::Text(cursor.id.to_string()));
            let id = sql.dialect.id(&id);
            clauses
                .conditions
                .push(format!("({column}, file_id) {comparison} ({key}, {id})"));
        }
        let direction = if self.descending { "DESC" } else { "ASC" };
        let limit = clauses.bind(Parameter::Integer(i64::from(self.limit) + 1));
        let text = format!(
            "{} ORDER BY {column} {direction}, file_id {direction} LIMIT {limit}",
            clauses.text()
        );
        let page = sql.select_files(&text, clauses.parameters.clone());
        Statements {
            page: clauses.planned(page),
            count,
            max_total,
        }
    }

    fn filter(&self, clauses: &mut Clauses<'_>) {
        if let Some(q) = &self.q {
            clauses.words(&words(q));
        }
        for tag in &self.tags {
            clauses.tag(tag);
        }
        for (key, value) in &self.metadata {
            clauses.metadata(key, value);
        }
        for (column, value) in [
            ("created_by_username", &self.uploaded_by),
            ("content_type", &self.content_type),
        ] {
            if let Some(value) = value {
                clauses.compare(column, "=", Parameter::Text(value.clone()));
            }
        }
        for (comparison, size) in [(">=", self.min_size), ("<=", self.max_size)] {
            if let Some(size) = size {
                clauses.compare(
                    "file_size",
                    comparison,
                    Parameter::Integer(i64::try_from(size).unwrap_or(i64::MAX)),
                );
            }
        }
        for (comparison, time) in [(">=", self.created_after), ("<", self.created_before)] {
            if let Some(time) = time {
                let parameter = clauses.bind(Parameter::Text(time_text(time)));
                let parameter = clauses.sql.dialect.time(&parameter);
                clauses.conditions.push(format!("created_at {comparison} {parameter}"));
            }
        }
    }
}

/// What answers a search.
pub(super) struct Statements {
    /// The page, one row longer than its limit.
    pub(super) page: Statement,
    /// How many files match, up to one more than `max_total`.
    pub(super) count: Statement,
    pub(super) max_total: u64,
}

struct Clauses<'a> {
    sql: &'a Sql,
    conditions: Vec<String>,
    parameters: Vec<Parameter>,
}

impl<'a> Clauses<'a> {
    const fn new(sql: &'a Sql) -> Self {
        Self {
            sql,
            conditions: Vec::new(),
            parameters: Vec::new(),
        }
    }

    fn bind(&mut self, parameter: Parameter) -> String {
        self.parameters.push(parameter);
        format!("${}", self.parameters.len())
    }

    fn compare(&mut self, column: &str, comparison: &str, parameter: Parameter) {
        let parameter = self.bind(parameter);
        self.conditions.push(format!("{column} {comparison} {parameter}"));
    }

    fn text(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }

    /// The statement of these clauses. Where there are none, one plan is right for all values.
    fn planned(&self, statement: Statement) -> Statement {
        if self.conditions.is_empty() {
            statement
        } else {
            statement.planned_by_value()
        }
    }

    /// Words hold only letters and digits, so they need no quoting inside a query of either kind.
    fn words(&mut self, words: &[String]) {
        let (query, condition): (Vec<_>, fn(&str, &str) -> String) = match self.sql.dialect {
            Dialect::Postgres => (
                words.iter().map(|word| format!("'{word}':*")).collect(),
                |_, parameter| format!("array_to_tsvector(string_to_array(search_text, ' ')) @@ {parameter}::tsquery"),
            ),
            Dialect::Sqlite => (
                words.iter().map(|word| format!("\"{word}\"*")).collect(),
                |prefix, parameter| {
                    format!("rowid IN (SELECT rowid FROM {prefix}fm_text WHERE {prefix}fm_text MATCH {parameter})")
                },
            ),
        };
        if query.is_empty() || words.iter().any(|word| word.len() >= MAX_WORD_BYTES) {
            self.conditions.push("1 = 0".to_owned());
            return;
        }
        let joint = if self.sql.dialect == Dialect::Postgres {
            " & "
        } else {
            " AND "
        };
        let parameter = self.bind(Parameter::Text(query.join(joint)));
        self.conditions.push(condition(&self.sql.prefix, &parameter));
    }

    fn tag(&mut self, tag: &str) {
        match self.sql.dialect {
            Dialect::Postgres => {
                let parameter = self.bind(Parameter::Text(json!([tag]).to_string()));
                self.conditions.push(format!("tags @> {parameter}::jsonb"));
            }
            Dialect::Sqlite => {
                let parameter = self.bind(Parameter::Text(tag.to_owned()));
                self.conditions.push(format!(
                    "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = {parameter})"
                ));
            }
        }
    }

    fn metadata(&mut self, key: &str, value: &str) {
        match self.sql.dialect {
            Dialect::Postgres => {
                let parameter = self.bind(Parameter::Text(json!({ key: value }).to_string()));
                self.conditions.push(format!("metadata_text @> {parameter}::jsonb"));
            }
            Dialect::Sqlite => {
                let key = self.bind(Parameter::Text(key.to_owned()));
                let value = self.bind(Parameter::Text(value.to_owned()));
                self.conditions.push(format!(
                    "EXISTS (SELECT 1 FROM json_each(metadata_text) AS pair WHERE pair.key = {key} AND pair.value = {value})"
                ));
            }
        }
    }
}

/// The words of a text: runs of letters and digits, in lower case.
fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// PostgreSQL refuses a lexeme of 2 KiB or more.
const MAX_WORD_BYTES: usize = 2000;

/// The words a file is found by, single-spaced.
pub(super) fn text_of(file: &FileMetadata) -> String {
    let parts = [Some(file.original_filename.as_str()), file.description.as_deref()];
    let parts = parts.into_iter().flatten().chain(file.tags.iter().map(String::as_str));
    let mut found: Vec<String> = parts
        .flat_map(words)
        .filter(|word| word.len() < MAX_WORD_BYTES)
        .collect();
    found.dedup();
    found.join(" ")
}
