//! A file whose time is over, and its collection.

use std::fs;

use anyhow::{Context, Result, ensure};
use element_api::{FileMetadata, TaskKind, TaskResult};

use crate::crash::ledger::{Intent, Ledger, Mark, Outcome};
use crate::crash::site::{Element, Site};
use crate::crash::workload::{SOME, checksum, content, perform};

const NAME: &str = "expired";

/// Stores a temporary file among others and sets its end back: no client may ask for one that is over at once.
pub(super) async fn prepare(site: &Site<'_>, ledger: &Ledger) -> Result<()> {
    let element = site.start().await?;
    ensure!(
        perform(SOME, &element.api, ledger).await?,
        "the element ended before its scene began"
    );
    let bytes = content(NAME, 1_000);
    let intent = Intent::Create {
        name: NAME.to_owned(),
        checksum: checksum(&bytes),
    };
    ledger.note(Mark::Begun(intent.clone()));
    let temporary = [("retention_policy", "temporary")];
    let file: FileMetadata = element.api.create(NAME, bytes, &temporary).await.json()?;
    element.stop()?;
    let expired = FileMetadata {
        expires_at: Some(file.created_at),
        ..file
    };
    let path = site.root().join(format!("{}.attr.json", expired.storage_path));
    fs::write(&path, serde_json::to_vec(&expired)?).with_context(|| format!("failed to write {path:?}"))?;
    site.run(&["rebuild"])?;
    ledger.note(Mark::Ended(intent, Outcome::Done(Some(Box::new(expired)))));
    Ok(())
}

/// Lets the element collect it. Answers whether it says that it did; nothing when it ended before it could say.
///
/// # Errors
/// When the collection failed.
pub(super) async fn collect(element: &Element, ledger: &Ledger) -> Result<Option<bool>> {
    let intent = Intent::Delete { name: NAME.to_owned() };
    ledger.note(Mark::Begun(intent.clone()));
    let collected = match element.api.maintain(TaskKind::Gc).await? {
        None => None,
        Some(TaskResult::Gc(report)) => Some(report.expired == 1),
        Some(other) => anyhow::bail!("the collection answers {other:?}"),
    };
    let outcome = if collected == Some(true) {
        Outcome::Done(None)
    } else {
        Outcome::Unknown
    };
    ledger.note(Mark::Ended(intent, outcome));
    Ok(collected)
}
