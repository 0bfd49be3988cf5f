//! Tasks of this server: what maintenance runs, and how far it came. One of a kind runs at a time. How one ended is known here until
//! the database has it. Knows nothing of what they do.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use element_api::{Task, TaskKind, TaskProgress, TaskResult, TaskStatus};
use jiff::Timestamp;
use uuid::Uuid;

/// How far a running task came.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    done: AtomicU64,
    /// 0 while it is not known.
    total: AtomicU64,
    bytes: AtomicU64,
}

/// A task that runs, or ended just now.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    task: Task,
    meter: Arc<Meter>,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) enum End {
    Succeeded(TaskResult),
    Failed(String),
    Stopped,
}

/// The tasks of this server; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    registry: Arc<Mutex<Registry>>,
}

type Registry = BTreeMap<TaskKind, Running>;

impl Meter {
    pub(crate) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn did(&self, files: u64, bytes: u64) {
        self.done.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> TaskProgress {
        let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
        let done = self.done.load(Ordering::Relaxed);
        TaskProgress {
            done,
            // Files that came meanwhile count too.
            total: total.map(|total| total.max(done)),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Running {
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// What is to be told of it.
    pub(crate) fn task(&self) -> Task {
        Task {
            progress: self.meter.progress(),
            ..self.task.clone()
        }
    }
}

impl Tasks {
    /// The task of a kind that runs.
    pub(crate) fn running(&self, kind: TaskKind) -> Option<Task> {
        let registry = self.registry();
        let task = registry.get(&kind).map(Running::task);
        task.filter(|task| task.status == TaskStatus::Running)
    }

    /// Begins a task, or answers the one of its kind that runs.
    pub(crate) fn begin(&self, kind: TaskKind, started_by: &str, now: Timestamp) -> Result<Running, Box<Task>> {
        let task = Task {
            id: Uuid::now_v7(),
            kind,
            status: TaskStatus::Running,
            progress: TaskProgress::default(),
            started_by: started_by.to_owned(),
            started_at: now,
            finished_at: None,
            result: None,
            error: None,
        };
        let begun = Running {
            task,
            meter: Arc::default(),
        };
        match self.registry().entry(kind) {
            Entry::Occupied(entry) if entry.get().task.status == TaskStatus::Running => {
                return Err(Box::new(entry.get().task()));
            }
            entry => drop(entry.insert_entry(begun.clone())),
        }
        Ok(begun)
    }

    /// Ends a task and answers what there is to tell of it.
    pub(crate) fn end(&self, running: &Running, end: End, now: Timestamp) -> Task {
        let (status, result, error) = match end {
            End::Succeeded(result) => (TaskStatus::Succeeded, Some(result), None),
            End::Failed(error) => (TaskStatus::Failed, None, Some(error)),
            End::Stopped => (TaskStatus::Stopped, None, None),
        };
        let task = Task {
            status,
            finished_at: Some(now),
            result,
            error,
            ..running.task()
        };
        let ended = Running {
            task: task.clone(),
            meter: Arc::clone(&running.meter),
        };
        self.registry().insert(task.kind, ended);
        task
    }

    /// Forgets a task that ended, unless another of its kind has begun since.
    pub(crate) fn forget(&self, ended: &Task) {
        let mut registry = self.registry();
        if registry.get(&ended.kind).is_some_and(|last| last.task.id == ended.id) {
            registry.remove(&ended.kind);
        }
    }

    /// A task that runs, or ended just now.
    pub(crate) fn get(&self, id: Uuid) -> Option<Task> {
        let registry = self.registry();
        registry
            .values()
            .find(|running| running.task.id == id)
            .map(Running::task)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use element_api::{GcReport, TaskKind, TaskResult, TaskStatus};
    use jiff::Timestamp;

    use super::{End, Tasks};

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn one_of_a_kind_runs_and_the_second_is_told_which() {
        let tasks = Tasks::default();
        let gc = tasks.begin(TaskKind::Gc, "alice", now()).unwrap();
        let refused = tasks.begin(TaskKind::Gc, "bob", now()).unwrap_err();
        assert_eq!((refused.id, refused.started_by.as_str()), (gc.task().id, "alice"));
        tasks.begin(TaskKind::Scrub, "bob", now()).unwrap();
        tasks.end(&gc, End::Stopped, now());
        assert!(tasks.begin(TaskKind::Gc, "bob", now()).is_ok());
    }

    #[test]
    fn progress_is_told_while_it_runs_and_kept_with_the_end() {
        let tasks = Tasks::default();
        let running = tasks.begin(TaskKind::Gc, "alice", now()).unwrap();
        let id = running.task().id;
        assert_eq!(tasks.get(id).unwrap().progress.total, None);
        running.meter().expect(5);
        running.meter().did(2, 30);
        let task = tasks.get(id).unwrap();
        assert_eq!(
            (task.status, task.progress.done, task.progress.total),
            (TaskStatus::Running, 2, Some(5))
        );
        running.meter().did(7, 1);
        tasks.end(&running, End::Succeeded(TaskResult::Gc(GcReport::default())), now());
        let task = tasks.get(id).unwrap();
        assert_eq!(
            (task.status, task.progress.total, task.progress.bytes),
            (TaskStatus::Succeeded, Some(9), 31)
        );
        assert_eq!(task.finished_at, Some(now()));
        assert!(task.result.is_some());
    }

    #[test]
    fn end_is_remembered_until_it_is_forgotten_or_another_begins() {
        let tasks = Tasks::default();
        let ended = || {
            let running = tasks.begin(TaskKind::Gc, "alice", now()).unwrap();
            tasks.end(&running, End::Failed("why".to_owned()), now())
        };
        let first = ended();
        assert_eq!(tasks.get(first.id), Some(first.clone()));
        assert_eq!(tasks.running(TaskKind::Gc), None);
        let second = ended();
        tasks.forget(&first);
        assert_eq!(
            (tasks.get(first.id), tasks.get(second.id)),
            (None, Some(second.clone()))
        );
        tasks.forget(&second);
        assert_eq!(tasks.get(second.id), None);
    }
}
