//! The scrub: a look at everything that reads all content, slowly, and goes on after a restart where it was. How far it came and
//! when it last came to its end is kept in `.artstore/scrub.json`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use element_api::InspectionReport;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Files;
use super::inspect::{CareError, Course, Plan, Watch};

const NOTE: &str = "scrub.json";

/// How often the place is kept; after a crash the scrub repeats what it did since.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// What is kept of scrubs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    /// When the element was first asked for a scrub's time.
    since: Timestamp,
    /// When a scrub last came to its end.
    finished_at: Option<Timestamp>,
    /// The one under way.
    course: Option<Course>,
}

impl Files {
    /// Looks at everything, from where an earlier scrub was stopped. None when it was stopped again.
    ///
    /// # Errors
    /// When the database or the store fails; the next one goes on from there.
    pub async fn scrub(
        &self,
        plan: Plan<'_>,
        stop: &CancellationToken,
        watch: &dyn Watch,
    ) -> Result<Option<InspectionReport>, CareError> {
        let mut note = self.scrub_note(Timestamp::now()).await?;
        let course = Mutex::new(note.course.take().unwrap_or_default());
        let so_far = |course: &Mutex<Course>| course.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let begun = so_far(&course).report;
        watch.did(begun.files, begun.bytes);
        let mut keep = tokio::time::interval(KEEP_EVERY);
        let mut looking = std::pin::pin!(self.inspect(plan, &course, watch));
        let ended = loop {
            tokio::select! {
                ended = &mut looking => break Some(ended),
                () = stop.cancelled() => break None,
                _ = keep.tick() => {
                    note.course = Some(so_far(&course));
                    self.keep_scrub_note(&note).await?;
                }
            }
        };
        let course = so_far(&course);
        let Some(Ok(())) = ended else {
            note.course = Some(course);
            self.keep_scrub_note(&note).await?;
            return ended.transpose().map(|_| None);
        };
        (note.course, note.finished_at) = (None, Some(Timestamp::now()));
        self.keep_scrub_note(&note).await?;
        self.recount().await;
        Ok(Some(course.report))
    }

    /// When the next scrub is due: at once for one that was stopped, else this long after the last, or after the first question.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn scrub_due(&self, every: SignedDuration, now: Timestamp) -> Result<Timestamp, CareError> {
        let note = self.scrub_note(now).await?;
        if note.course.is_some() {
            return Ok(now);
        }
        let last = note.finished_at.unwrap_or(note.since);
        Ok(last.checked_add(every).unwrap_or(Timestamp::MAX))
    }

    /// When a scrub last came to its end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_scrub(&self) -> Result<Option<Timestamp>, CareError> {
        Ok(self.scrub_note(Timestamp::now()).await?.finished_at)
    }

    /// What was kept. What cannot be understood is as good as nothing: the scrub begins anew.
    async fn scrub_note(&self, now: Timestamp) -> Result<Note, CareError> {
        let kept = self.inner.store.note(NOTE).await?;
        if let Some(note) = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(note);
        }
        let note = Note {
            since: now,
            finished_at: None,
            course: None,
        };
        self.keep_scrub_note(&note).await?;
        Ok(note)
    }

    async fn keep_scrub_note(&self, note: &Note) -> Result<(), CareError> {
        let bytes = serde_json::to_vec(note).map_err(std::io::Error::other)?;
        Ok(self.inner.store.keep_note(NOTE, bytes).await?)
    }
}
