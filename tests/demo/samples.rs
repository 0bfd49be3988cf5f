//! The files the demo uploads: those of a given folder, or documents and pictures that are on the machine anyway.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use e2e::client::Client;
use e2e::tools::hex;
use reqwest::multipart::{Form, Part};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// Where documents and pictures are on any Linux.
const FALLBACK: &str = "/usr/share";
/// What counts as one there.
const KINDS: [&str; 9] = ["pdf", "jpg", "png", "svg", "html", "ttf", "txt", "gz", "csv"];
/// How many of a kind are taken there.
const OF_A_KIND: usize = 6;
/// The largest file taken there, in bytes.
const LARGEST: u64 = 16 << 20;

/// One file.
pub(crate) struct Sample {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) checksum: String,
}

impl Sample {
    /// Uploads it; false when it was there already.
    pub(crate) async fn upload(&self, element: &Client) -> Result<bool> {
        let form = Form::new()
            .text("file_id", self.id.to_string())
            .text("checksum", self.checksum.clone())
            .text("tags", "demo")
            .part("file", Part::bytes(self.content.clone()).file_name(self.name.clone()));
        let upload = element.upload(form).await;
        let (new, stored) = upload.with_context(|| format!("failed to upload {}", self.name))?;
        if stored.checksum != self.checksum || stored.file_id != self.id {
            bail!("{}: {} was stored as something else", element.name, self.name);
        }
        Ok(new)
    }

    /// The longest word of its name, to search for.
    pub(crate) fn word(&self) -> &str {
        let stem = self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem);
        stem.split(|letter: char| !letter.is_alphanumeric())
            .max_by_key(|word| word.len())
            .unwrap_or(stem)
    }
}

/// Reads the files of the folder, and of its subfolders.
pub(crate) fn read(folder: Option<PathBuf>) -> Result<Vec<Sample>> {
    let paths = match &folder {
        Some(folder) => all_files(folder)?,
        None => some_of_each_kind(all_files(Path::new(FALLBACK))?),
    };
    if paths.is_empty() {
        bail!(
            "there are no files in {}",
            folder.unwrap_or_else(|| FALLBACK.into()).display()
        );
    }
    paths.iter().map(|path| sample(path)).collect()
}

/// SHA-256 as lower-case hexadecimal digits.
pub(crate) fn checksum(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn sample(path: &Path) -> Result<Sample> {
    let content = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The id comes from name and content: a second run meets its own files again instead of doubling them.
    let digest = Sha256::new()
        .chain_update(&name)
        .chain_update([0])
        .chain_update(&content)
        .finalize();
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(digest) {
        *to = from;
    }
    Ok(Sample {
        id: Builder::from_custom_bytes(id).into_uuid(),
        name,
        checksum: checksum(&content),
        content,
    })
}

fn all_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))? {
            let entry = entry?;
            // Links are not followed: they may lead anywhere, or in circles.
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The largest of each kind, which are the most telling, in a stable order.
fn some_of_each_kind(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kinds: BTreeMap<&str, Vec<(u64, PathBuf)>> = BTreeMap::new();
    for path in paths {
        let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else {
            continue;
        };
        let Some(kind) = KINDS.iter().find(|kind| **kind == extension) else {
            continue;
        };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > 0 && metadata.len() <= LARGEST => {
                kinds.entry(kind).or_default().push((metadata.len(), path));
            }
            _ => {}
        }
    }
    let mut chosen = Vec::new();
    for (_, mut files) in kinds {
        files.sort_by(|one, other| other.cmp(one));
        chosen.extend(files.into_iter().take(OF_A_KIND).map(|(_, path)| path));
    }
    chosen
}
