//! Quarantine: damaged content is moved with its attributes to `.artstore/quarantine/ID/`, where it stays until a person removes
//! it. Readers get 404: bytes nobody vouches for are not served, and whoever still has the file may store it again under its id.
//!
//! The log entry is of a kind of its own: recovery finishes a move that was begun and never removes content.

use std::io;

use element_api::FileMetadata;

use super::unsettled::Bytes;
use super::{FileError, Inner};
use crate::capacity::footprint;
use crate::durable;
use crate::index::FileChange;
use crate::wal::{OperationType, Status};

/// What a second reading says of content that seemed damaged.
pub(super) enum Verdict {
    /// It is no more.
    Gone,
    /// The disk does not give it, or gives it now so and now so. Nothing proves it damaged, so it stays.
    Unreadable(String),
    /// It is not what its attr file says.
    Corrupt {
        /// What it is.
        detail: String,
        /// Whether it was moved.
        quarantined: bool,
    },
}

impl Inner {
    /// Reads content again that did not have its sha256, and moves it away if it still has not.
    pub(super) async fn condemn(&self, file: &FileMetadata, may_quarantine: bool) -> Result<Verdict, FileError> {
        let (id, path) = (file.file_id, &file.storage_path);
        let content = match self.read_whole(path).await {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Gone),
            Err(error) => return Ok(Verdict::Unreadable(error.to_string())),
        };
        if content.checksum.eq_ignore_ascii_case(&file.checksum) {
            return Ok(Verdict::Unreadable("it was read differently the first time".to_owned()));
        }
        let detail = format!("sha256 {} instead of {}", content.checksum, file.checksum);
        let _gate = self.gate.read().await;
        let _turn = self.turn(id).await?;
        let is_same = |now: &FileMetadata| now.created_at == file.created_at && now.checksum == file.checksum;
        match self.attributes(id, path).await {
            Ok(now) if is_same(&now) => {}
            Ok(_) | Err(FileError::NotFound { .. }) => return Ok(Verdict::Gone),
            Err(error) => return Ok(Verdict::Unreadable(error.to_string())),
        }
        if !may_quarantine || durable::flush_failed() {
            return Ok(Verdict::Corrupt {
                detail,
                quarantined: false,
            });
        }
        let record = self.begin(OperationType::FileQuarantine, id, path).await?;
        if let Err(error) = self.store.quarantine(record.transaction_id, path).await {
            // How far it came is not known; recovery finishes what was begun.
            self.unsettled.keep(record, Bytes::AsCounted);
            let detail = format!("{detail}; moving it away failed: {error}");
            return Ok(Verdict::Corrupt {
                detail,
                quarantined: false,
            });
        }
        self.accounts.release(file.file_size);
        self.accounts.add_aside(footprint(content.size));
        let row = FileChange::Remove {
            id,
            storage_path: path.clone(),
        };
        let settling = self.wal.settle(&record, Status::Committed, row, Some(detail.clone()));
        self.settle_or_keep(record.clone(), settling).await?;
        Ok(Verdict::Corrupt {
            detail,
            quarantined: true,
        })
    }
}
