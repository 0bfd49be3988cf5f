//! How PostgreSQL goes about our statements: none that a change or a lookup needs may read more rows the more there are.

use element_api::FileMetadata;
use serde_json::Value;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use uuid::Uuid;

use super::{TestDatabase, file, put, search};
use crate::index::sql::{Parameter, Statement};
use crate::index::writer::statements;
use crate::index::{Change, FileChange, Search};
use crate::wal::{OperationType, Wal};

/// Rows of the table, and how many of them a statement about one file may look at.
const ROWS: u32 = 500;
const FEW: f64 = 3.0;

#[tokio::test]
async fn changes_and_lookups_of_one_file_read_few_rows_however_many_there_are() {
    let database = TestDatabase::postgres().await;
    let index = database.migrated().await;
    let files: Vec<_> = (1..=ROWS).map(file).collect();
    futures::future::join_all(files.iter().map(|file| put(&index, file))).await;
    let wal = Wal::new(index.clone(), "test".into());
    let change = |number: u32, change: fn(u32) -> FileChange| Change {
        record: wal.record(OperationType::FileUpdate, Uuid::from_u128(number.into()), "a/path"),
        file: change(number),
    };
    let stored = |number| FileChange::Put(Box::new(file(number)));
    let gone = |number| FileChange::Remove {
        id: file(number).file_id,
        storage_path: file(number).storage_path,
    };
    let sql = &index.sql;
    let mut all = vec![sql.get(file(7).file_id), sql.many(&[file(7).file_id])];
    for changes in [
        vec![change(ROWS + 1, |_| FileChange::Keep)],
        vec![change(ROWS + 1, stored)],
        vec![change(7, stored)],
        vec![change(7, gone)],
        vec![change(7, gone), change(ROWS + 1, stored)],
    ] {
        all.extend(statements(sql, &changes).unwrap());
    }

    let mut connection = connect(&database).await;
    // Plans as they are when they are kept, from statistics of an empty table too.
    let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";
    connection.execute(sqlx::raw_sql(settings)).await.unwrap();
    for analyzed in [false, true] {
        if analyzed {
            connection.execute("ANALYZE").await.unwrap();
        }
        for statement in &all {
            let plan = explain(&mut connection, statement).await;
            let looked_at = rows_looked_at(&plan, &sql.files);
            assert!(
                looked_at <= FEW,
                "{looked_at} rows looked at: {}\n{plan:#}",
                statement.text().as_str()
            );
        }
    }
    index.close().await;
    database.drop().await;
}

#[tokio::test]
async fn rare_word_is_looked_up_and_its_search_planned_anew_each_time() {
    let database = TestDatabase::postgres().await;
    let index = database.migrated().await;
    let named = |number: u32| FileMetadata {
        original_filename: format!("letter{number}.txt"),
        ..file(number)
    };
    let files: Vec<_> = (1..=4 * ROWS).map(named).collect();
    futures::future::join_all(files.iter().map(|file| put(&index, file))).await;
    let search = Search {
        q: Some(format!("letter{}", 4 * ROWS)),
        ..search::all()
    };
    let statements = search.statements(&index.sql);
    let mut connection = connect(&database).await;
    connection.execute("ANALYZE").await.unwrap();
    for statement in [&statements.page, &statements.count] {
        // A kept plan does not know how rare the word is, and reads all files in the page's order.
        assert!(statement.planned_by_value);
        let plan = explain(&mut connection, statement).await;
        let looked_at = rows_looked_at(&plan, &index.sql.files);
        assert!(looked_at <= FEW, "{looked_at} rows looked at\n{plan:#}");
    }
    for _ in 0..10 {
        assert_eq!(search::found(&index, search.clone()).await, [u128::from(4 * ROWS)]);
    }
    let mut reading = index
        .backend
        .fetch(&Statement::new(KEPT_PLANS, Vec::new()))
        .await
        .unwrap();
    reading.retain(|text| text.contains("tsquery"));
    assert!(reading.is_empty(), "{reading:?}");
    index.close().await;
    database.drop().await;
}

/// The statements whose plans a connection keeps.
const KEPT_PLANS: &str = "SELECT statement FROM pg_prepared_statements";

async fn connect(database: &TestDatabase) -> sqlx::PgConnection {
    let server = database.postgres.as_ref().unwrap();
    server.server.clone().database(&server.name).connect().await.unwrap()
}

/// Runs the statement, takes it back, and tells how it was done.
async fn explain(connection: &mut sqlx::PgConnection, statement: &Statement) -> Value {
    let (kinds, values): (Vec<_>, Vec<_>) = statement
        .parameters
        .iter()
        .map(|parameter| match parameter {
            Parameter::Text(text) => ("text", format!("$text${text}$text$")),
            Parameter::Integer(number) => ("bigint", number.to_string()),
        })
        .unzip();
    let list = |parts: Vec<String>| match parts.is_empty() {
        true => String::new(),
        false => format!("({})", parts.join(", ")),
    };
    let kinds = list(kinds.into_iter().map(str::to_owned).collect());
    let prepare = format!("PREPARE asked{kinds} AS {}; BEGIN", statement.text().as_str());
    connection.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked{}", list(values));
    let row = connection
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(explain)))
        .await
        .unwrap();
    connection.execute("ROLLBACK; DEALLOCATE asked").await.unwrap();
    row.get(0)
}

/// The rows of a table that the scans of a plan came across.
fn rows_looked_at(plan: &Value, table: &str) -> f64 {
    let own = |name: &str| plan[name].as_f64().unwrap_or_default();
    let scan = plan["Relation Name"] == table && plan["Node Type"].as_str().is_some_and(|node| node.ends_with("Scan"));
    let here = if scan {
        (own("Actual Rows") + own("Rows Removed by Filter")) * own("Actual Loops")
    } else {
        0.0
    };
    let below = match plan {
        Value::Object(parts) => parts.values().map(|part| rows_looked_at(part, table)).sum(),
        Value::Array(parts) => parts.iter().map(|part| rows_looked_at(part, table)).sum::<f64>(),
        _ => 0.0,
    };
    here + below
}
