//! What differs between the databases in the text of a statement.

/// One of the databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// How a column is kept.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Plain,
    Json,
}

impl Dialect {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }

    /// A relation with `columns`, one row for each object of the JSON array in parameter `position`.
    pub(super) fn records(self, table: &str, columns: &[(&str, Kind)], position: usize) -> String {
        match self {
            Self::Postgres => format!("json_populate_recordset(NULL::{table}, ${position}::json)"),
            Self::Sqlite => {
                let list = columns.iter().map(|(name, kind)| match kind {
                    Kind::Plain => format!("value->>'$.{name}' AS {name}"),
                    Kind::Json => format!("value->'$.{name}' AS {name}"),
                });
                format!(
                    "(SELECT {} FROM json_each(${position}))",
                    list.collect::<Vec<_>>().join(", ")
                )
            }
        }
    }

    /// Selects JSON objects of `columns` from `source`, a table with whatever clauses follow it.
    pub(super) fn select(self, columns: &[(&str, Kind)], source: &str) -> String {
        match self {
            Self::Postgres => {
                format!(
                    "SELECT row_to_json(found)::text FROM (SELECT {} FROM {source}) AS found",
                    names(columns)
                )
            }
            Self::Sqlite => format!("SELECT {} FROM {source}", self.object(columns)),
        }
    }

    /// A JSON object of `columns`, as text.
    pub(super) fn object(self, columns: &[(&str, Kind)]) -> String {
        let list = columns.iter().map(|(name, kind)| match (self, kind) {
            (Self::Sqlite, Kind::Json) => format!("'{name}', json({name})"),
            _ => format!("'{name}', {name}"),
        });
        let list = list.collect::<Vec<_>>().join(", ");
        format!("CAST({}({list}) AS TEXT)", self.json_object())
    }

    /// `expression` as the type of a time column.
    pub(super) fn time(self, expression: &str) -> String {
        match self {
            Self::Postgres => format!("{expression}::timestamptz"),
            Self::Sqlite => expression.to_owned(),
        }
    }

    /// `expression` as the type of an id column.
    pub(super) fn id(self, expression: &str) -> String {
        match self {
            Self::Postgres => format!("{expression}::uuid"),
            Self::Sqlite => expression.to_owned(),
        }
    }

    /// `expression` as the type of a JSON column.
    pub(super) fn json(self, expression: &str) -> String {
        match self {
            Self::Postgres => format!("{expression}::json"),
            Self::Sqlite => expression.to_owned(),
        }
    }

    /// Whether `column` is among the ids of the JSON array in parameter `position`. In PostgreSQL it is no subquery: that could be
    /// planned as a join, which reads the whole table.
    pub(super) fn is_id_of(self, column: &str, position: usize) -> String {
        match self {
            Self::Postgres => {
                format!("{column} = ANY (ARRAY(SELECT value::uuid FROM jsonb_array_elements_text(${position}::jsonb)))")
            }
            Self::Sqlite => format!("{column} IN (SELECT value FROM json_each(${position}))"),
        }
    }

    /// Whether `column` is among the texts of the JSON array in parameter `position`.
    pub(super) fn is_text_of(self, column: &str, position: usize) -> String {
        match self {
            Self::Postgres => {
                format!("{column} = ANY (ARRAY(SELECT jsonb_array_elements_text(${position}::jsonb)))")
            }
            Self::Sqlite => format!("{column} IN (SELECT value FROM json_each(${position}))"),
        }
    }

    pub(super) fn json_object(self) -> &'static str {
        match self {
            Self::Postgres => "json_build_object",
            Self::Sqlite => "json_object",
        }
    }

    /// The database's time.
    pub(super) const fn now(self) -> &'static str {
        match self {
            Self::Postgres => "clock_timestamp()",
            Self::Sqlite => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        }
    }

    /// The database's time, moved by seconds.
    pub(super) fn now_and(self, seconds: i64) -> String {
        match self {
            Self::Postgres => format!("clock_timestamp() + interval '{seconds} seconds'"),
            Self::Sqlite => format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '{seconds:+} seconds')"),
        }
    }

    pub(super) const fn end_of_time(self) -> &'static str {
        match self {
            Self::Postgres => "timestamptz 'infinity'",
            Self::Sqlite => "'9999-12-31T23:59:59.999Z'",
        }
    }
}

pub(super) fn names(columns: &[(&str, Kind)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
