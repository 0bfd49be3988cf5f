//! Reading content against its sha256, at a pace that leaves the disk to others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use element_api::{FileMetadata, FindingKind};
use tokio::time::{Instant, sleep_until};

use super::{CareError, Inspection, Reading};
use crate::files::Inner;
use crate::files::quarantine::Verdict;
use crate::store::Spooled;

/// How far reading may lag behind its rate and still catch up.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Bytes a second, and when the bytes read so far are due.
pub(super) struct Pace {
    rate: Option<u64>,
    due: Instant,
}

impl Pace {
    pub(super) fn new(reading: Reading) -> Self {
        let rate = match reading {
            Reading::No => None,
            Reading::All { rate } => rate,
        };
        Self {
            rate,
            due: Instant::now(),
        }
    }

    /// Waits until these bytes may have been read.
    async fn keep(&mut self, bytes: u64) {
        if let Some(due) = self.due_at(Instant::now(), bytes) {
            sleep_until(due).await;
        }
    }

    /// When bytes that were read at `now` were due.
    fn due_at(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        let rate = self.rate?.max(1);
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        self.due = self.due.max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        Some(self.due)
    }
}

impl Inspection<'_> {
    /// Reads a file's content and reports what is wrong with it.
    pub(super) async fn read_content(&self, metadata: &FileMetadata, pace: &mut Pace) -> Result<(), CareError> {
        let (path, id) = (&metadata.storage_path, Some(metadata.file_id));
        if !is_sha256(&metadata.checksum) {
            let detail = format!("{:?} is no sha256", metadata.checksum);
            self.report(FindingKind::ChecksumUnknown, path, id, detail, false);
            return Ok(());
        }
        match self.read_at_pace(path, pace).await {
            Ok(content) if content.checksum.eq_ignore_ascii_case(&metadata.checksum) => Ok(()),
            Ok(_) => self.condemn(metadata).await,
            // Deleted meanwhile, or missing, which the look at its parts has said.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                self.report(FindingKind::ContentUnreadable, path, id, error.to_string(), false);
                Ok(())
            }
        }
    }

    async fn read_at_pace(&self, path: &str, pace: &mut Pace) -> io::Result<Spooled> {
        let mut scan = self.inner.store.scan(path).await?;
        loop {
            let bytes = scan.step().await?;
            if bytes == 0 {
                return scan.finish();
            }
            self.course().report.bytes += bytes;
            self.watch.did(0, bytes);
            pace.keep(bytes).await;
        }
    }

    async fn condemn(&self, metadata: &FileMetadata) -> Result<(), CareError> {
        let inner = Arc::clone(&self.files.inner);
        let (file, may_quarantine) = (metadata.clone(), (self.plan.may_quarantine)());
        // On a task of its own: a stop must not end it halfway.
        let task = self
            .inner
            .tasks
            .spawn(async move { inner.condemn(&file, may_quarantine).await });
        let (path, id) = (&metadata.storage_path, Some(metadata.file_id));
        match task.await.map_err(io::Error::other)?? {
            Verdict::Gone => {}
            Verdict::Unreadable(why) => self.report(FindingKind::ContentUnreadable, path, id, why, false),
            Verdict::Corrupt { detail, quarantined } => {
                self.course().report.quarantined += u64::from(quarantined);
                self.report(FindingKind::ContentCorrupt, path, id, detail, quarantined);
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Reads a file's content at full speed.
    pub(in crate::files) async fn read_whole(&self, path: &str) -> io::Result<Spooled> {
        let mut scan = self.store.scan(path).await?;
        while scan.step().await? > 0 {}
        scan.finish()
    }
}

/// Older systems may have kept something else in its place, which says nothing of the content.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, Reading, is_sha256};

    #[test]
    fn reading_keeps_to_its_rate_and_saves_up_no_more_than_a_second() {
        let mut pace = Pace::new(Reading::All { rate: Some(1000) });
        let begun = pace.due;
        let seconds = Duration::from_secs;
        assert_eq!(pace.due_at(begun, 500), Some(begun + Duration::from_millis(500)));
        assert_eq!(pace.due_at(begun, 1500), Some(begun + seconds(2)));
        let later = begun + seconds(60);
        assert_eq!(pace.due_at(later, 3000), Some(later + seconds(2)));
        assert_eq!(Pace::new(Reading::All { rate: None }).due_at(later, 1), None);
    }

    #[test]
    fn checksum_of_another_kind_is_told_apart() {
        assert!(is_sha256(&"aB".repeat(32)));
        for text in ["", "ab", &"g0".repeat(32), &"ab".repeat(33)] {
            assert!(!is_sha256(text), "{text}");
        }
    }
}
