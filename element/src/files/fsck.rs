//! The offline check: the log, what uploads left, then the look at everything that the scrub takes too, and the totals.

use std::sync::{Mutex, PoisonError};

use element_api::{Finding, FindingKind, InspectionReport, Operation};

use super::inspect::{CareError, Course, Cursor, Plan, Reading, Rows, Watch};
use super::{Files, OpenError, OwnStore, Settings};
use crate::index::Index;
use crate::store::{Leftover, StoreConfig};
use crate::wal::recover::{self, Recovered};
use crate::wal::{Instance, WalRecord};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Whether to repair what can be.
    pub repair: bool,
    /// Whether to read all content.
    pub content: bool,
}

impl Files {
    /// Takes the store for a check, and changes nothing in it.
    ///
    /// # Errors
    /// When the store is in use or unusable, or the database is away.
    pub async fn open_for_check(mut settings: Settings, index: Index) -> Result<Self, OpenError> {
        if settings.store.is_shared() && index.others_live(&settings.instance_id).await? {
            return Err(OpenError::Served);
        }
        if let StoreConfig::Local { shared, .. } = &mut settings.store {
            // Whoever checks a folder has it alone, however many servers share it otherwise.
            *shared = false;
        }
        let OwnStore { store, sharing, fence } = OwnStore::take(&settings).await?;
        let instance = Instance::register(index.clone(), settings.instance_id.clone(), sharing, fence).await?;
        Ok(Self::assemble(settings, store, index, instance))
    }

    /// Checks everything. Only for files opened by [`Files::open_for_check`].
    ///
    /// # Errors
    /// When the database or the store fails.
    pub async fn check(&self, check: Check, watch: &dyn Watch) -> Result<InspectionReport, CareError> {
        let course = Mutex::new(Course::default());
        let note = |finding: Finding| {
            watch.found(&finding);
            course
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .report
                .note(finding);
        };
        self.check_log(check, &note).await?;
        self.check_leftovers(check, &note).await?;
        let mut rows = if check.repair { Rows::Repair } else { Rows::Check };
        if self.inner.index.is_empty().await? && !self.inner.store.is_empty().await? {
            if check.repair {
                self.rebuild().await?;
            } else {
                // One finding says it for all of them.
                rows = Rows::Ignore;
            }
            note(finding(
                FindingKind::DatabaseEmpty,
                "the database knows no file",
                check.repair,
            ));
        }
        // An archive keeps the metadata of what it cannot read, and so also of what is damaged.
        let mode = self.kept_mode().await.map_err(CareError::File)?;
        let may_quarantine = check.repair && mode.is_none_or(|kept| kept.mode.allows(Operation::Read));
        let plan = Plan {
            rows,
            content: if check.content {
                Reading::All { rate: None }
            } else {
                Reading::No
            },
            may_quarantine: &move || may_quarantine,
            restore: check.repair,
            offline: true,
        };
        self.inspect(plan, &course, watch).await?;
        self.check_totals(check, &note).await?;
        let course = course.into_inner().unwrap_or_else(PoisonError::into_inner);
        debug_assert_eq!(course.cursor, Cursor::Done);
        Ok(course.report)
    }

    async fn check_log(&self, check: Check, note: &(dyn Fn(Finding) + Send + Sync)) -> Result<(), CareError> {
        if !check.repair {
            for record in self.inner.index.pending().await? {
                note(pending(record, false));
            }
            return Ok(());
        }
        loop {
            let records = self.inner.instance.take_over().await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records {
                let outcome = recover::settle(self.inner.store.as_ref(), &self.inner.wal, &record).await?;
                note(pending(record, outcome != Recovered::Left));
            }
        }
    }

    async fn check_leftovers(&self, check: Check, note: &(dyn Fn(Finding) + Send + Sync)) -> Result<(), CareError> {
        for left in self.inner.store.leftovers().await? {
            if check.repair {
                self.inner.store.clear(&left).await?;
            }
            let path = match left {
                Leftover::Temporary { name, .. } => format!(".artstore/tmp/{name}"),
                Leftover::Multipart { storage_path, .. } => storage_path,
            };
            note(Finding {
                path,
                ..finding(
                    FindingKind::TemporaryFile,
                    "an upload left it, and no server runs that could need it",
                    check.repair,
                )
            });
        }
        Ok(())
    }

    async fn check_totals(&self, check: Check, note: &(dyn Fn(Finding) + Send + Sync)) -> Result<(), CareError> {
        let (told, counted) = (self.inner.index.stats().await?, self.inner.index.count().await?);
        if (told.files, told.bytes) == counted {
            return Ok(());
        }
        if check.repair {
            self.inner.index.recount().await?;
        }
        let detail = format!(
            "it tells of {} files with {} bytes and holds {} with {}",
            told.files, told.bytes, counted.0, counted.1
        );
        note(finding(FindingKind::TotalsWrong, &detail, check.repair));
        Ok(())
    }
}

fn pending(record: WalRecord, repaired: bool) -> Finding {
    let operation = serde_json::to_value(record.operation_type).unwrap_or_default();
    let detail = format!(
        "{} of {} began at {} and was never settled",
        operation.as_str().unwrap_or_default(),
        record.transaction_id,
        record.started_at
    );
    Finding {
        path: record.operation_data.storage_path,
        file_id: record.file_id,
        ..finding(FindingKind::LogPending, &detail, repaired)
    }
}

fn finding(kind: FindingKind, detail: &str, repaired: bool) -> Finding {
    Finding {
        kind,
        path: String::new(),
        file_id: None,
        detail: detail.to_owned(),
        repaired,
    }
}
