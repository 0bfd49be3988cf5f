//! A file whose time is over, and its collection.

use std::fs;

use anyhow::{Context, Result};
use element_api::{FileMetadata, TaskKind};

use crate::crash::ledger::{Intent, Ledger, Mark, Outcome};
use crate::crash::site::{Element, Site};
use crate::crash::workload::{SOME, checksum, content, perform};

const NAME: &str = "expired";

/// Stores a temporary file among others and sets its end back: no client may ask for one that is over at once.
pub(super) async fn prepare(site: &Site<'_>, ledger: &Ledger) -> Result<()> {
    let element = site.start().await?;
    perform(SOME, &element.api, ledger).await?;
    let bytes = content(NAME, 1_000);
    ledger.note(Mark::Begun(Intent::Create {
        name: NAME.to_owned(),
        checksum: checksum(&bytes),
    }));
    let file: FileMetadata = element.api.create_temporary(NAME, bytes).await.json()?;
    element.stop()?;
    let expired = FileMetadata {
        expires_at: Some(file.created_at),
        ..file
    };
    let path = site.root().join(format!("{}.attr.json", expired.storage_path));
    fs::write(&path, serde_json::to_vec(&expired)?).with_context(|| format!("failed to write {path:?}"))?;
    site.run(&["rebuild"])?;
    ledger.note(Mark::Ended(Outcome::Done(Some(Box::new(expired)))));
    Ok(())
}

/// Lets the element collect it.
pub(super) async fn collect(element: &Element, ledger: &Ledger) -> Result<()> {
    ledger.note(Mark::Begun(Intent::Delete { name: NAME.to_owned() }));
    let done = element.api.maintain(TaskKind::Gc).await?;
    ledger.note(Mark::Ended(if done { Outcome::Done(None) } else { Outcome::Unknown }));
    Ok(())
}
