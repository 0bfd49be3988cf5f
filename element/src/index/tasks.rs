//! Maintenance tasks as every server of the element sees them: how far each came, and how the last ones ended.

use std::time::Duration;

use element_api::{Task, TaskKind, TaskStatus};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::dialect::Kind;
use super::lease::seconds;
use super::sql::{Parameter, Sql, Statement, time_text};
use super::{Index, IndexError};

/// How long tasks are remembered.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

impl Sql {
    /// What is told late, of a task whose end is known, changes nothing.
    fn task_keep(&self, task: &Task, instance_id: &str) -> Result<Statement, IndexError> {
        let Self { prefix, dialect, .. } = self;
        let (id, started_at) = (dialect.id("$1"), dialect.time("$5"));
        let document = dialect.json("$6");
        let texts = [
            task.id.to_string(),
            task.kind.as_str().to_owned(),
            task.status.as_str().to_owned(),
            instance_id.to_owned(),
            time_text(task.started_at),
            serde_json::to_string(task)?,
        ];
        let running = TaskStatus::Running.as_str();
        Ok(Statement::new(
            format!(
                "INSERT INTO {prefix}task (task_id, kind, status, instance_id, started_at, document) \
                 VALUES ({id}, $2, $3, $4, {started_at}, {document}) \
                 ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, document = excluded.document \
                 WHERE {prefix}task.status = '{running}'"
            ),
            texts.map(Parameter::Text).to_vec(),
        ))
    }

    /// Rows of [`Kept`]; `clauses` begin with WHERE.
    fn tasks(&self, clauses: &str, parameters: [String; 1]) -> Statement {
        let Self { prefix, dialect, .. } = self;
        let table = format!("{prefix}task");
        let deserted = self.nobody_lives(&table);
        let source = format!(
            "(SELECT document, CASE WHEN {deserted} THEN 1 ELSE 0 END AS deserted FROM {table} {clauses}) AS kept"
        );
        let columns = [("document", Kind::Json), ("deserted", Kind::Plain)];
        Statement::new(
            dialect.select(&columns, &source),
            parameters.map(Parameter::Text).to_vec(),
        )
    }

    fn task(&self, id: Uuid) -> Statement {
        let condition = self.dialect.id("$1");
        self.tasks(&format!("WHERE task_id = {condition}"), [id.to_string()])
    }

    fn tasks_running(&self, kind: TaskKind) -> Statement {
        let running = TaskStatus::Running.as_str();
        let clauses = format!("WHERE kind = $1 AND status = '{running}' ORDER BY started_at DESC");
        self.tasks(&clauses, [kind.as_str().to_owned()])
    }

    fn tasks_prune(&self) -> Statement {
        let long_ago = self.dialect.now_and(-seconds(REMEMBERED));
        Statement::new(
            format!("DELETE FROM {}task WHERE started_at < {long_ago}", self.prefix),
            Vec::new(),
        )
    }
}

/// A task as its server last told of it.
#[derive(Deserialize)]
struct Kept {
    document: Value,
    /// 1 when that server lives no more.
    deserted: u8,
}

impl Kept {
    /// What is to be believed of it.
    fn task(mut self) -> Result<Task, IndexError> {
        let mut task: Task = match serde_json::from_value(self.document.clone()) {
            Ok(task) => task,
            Err(_) => {
                // Another version may have had more to report.
                self.document.as_object_mut().and_then(|task| task.remove("result"));
                serde_json::from_value(self.document)?
            }
        };
        if task.status == TaskStatus::Running && self.deserted == 1 {
            task.status = TaskStatus::Stopped;
            task.error = Some("its server was not heard of any more".to_owned());
        }
        Ok(task)
    }
}

impl Index {
    /// Keeps what the server `instance_id` tells of a task it runs, in place of what it told before.
    pub async fn keep_task(&self, task: &Task, instance_id: &str) -> Result<(), IndexError> {
        let statement = self.sql.task_keep(task, instance_id)?;
        Ok(self.backend.transact(&[statement]).await?)
    }

    /// A task of any server. One that its server can no longer bring to an end has stopped.
    pub async fn task(&self, id: Uuid) -> Result<Option<Task>, IndexError> {
        Ok(self.kept_tasks(&self.sql.task(id)).await?.pop())
    }

    /// The task of a kind that a server which lives runs.
    pub async fn running_task(&self, kind: TaskKind) -> Result<Option<Task>, IndexError> {
        let found = self.kept_tasks(&self.sql.tasks_running(kind)).await?;
        Ok(found.into_iter().find(|task| task.status == TaskStatus::Running))
    }

    /// Forgets tasks that began long ago.
    pub async fn prune_tasks(&self) -> Result<(), IndexError> {
        Ok(self.backend.transact(&[self.sql.tasks_prune()]).await?)
    }

    async fn kept_tasks(&self, statement: &Statement) -> Result<Vec<Task>, IndexError> {
        let rows = self.backend.fetch(statement).await?;
        rows.iter()
            .map(|row| serde_json::from_str::<Kept>(row)?.task())
            .collect()
    }
}
