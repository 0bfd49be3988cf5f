//! The invariants: what a running element and its folder must look like after a crash, whatever was promised before.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use element_api::{FileMetadata, Mode};
use uuid::Uuid;

use super::api::{Api, Reply};
use super::ledger::{Expectations, Expected, Presence};
use super::workload::checksum;

const ATTRIBUTES: &str = ".attr.json";

/// What an attr file counts for in the used bytes.
const ATTRIBUTES_BYTES: u64 = 4096;

/// Everything that is not as it must be.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<String>);

impl Findings {
    /// Adds one.
    pub fn add(&mut self, what: impl Into<String>) {
        self.0.push(what.into());
    }

    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
}

/// Compares an element that has just recovered with what was promised. `orphans` are allowed when the database, and so the log
/// that knew of them, was lost too.
pub async fn check(api: &Api, root: &Path, expectations: &Expectations, orphans: bool) -> Result<Findings> {
    let mut findings = Findings::default();
    let files = rows(api, &mut findings).await?;
    let disk = Disk::read(root)?;
    disk.compare(&files, orphans.then_some(expectations), &mut findings);
    for (name, expected) in &expectations.files {
        let found: Vec<&FileMetadata> = files.values().filter(|file| file.original_filename == *name).collect();
        judge(name, expected, &found, &mut findings);
    }
    let mode = api.mode().await?.mode;
    findings.unless(expectations.modes.contains(&mode), || {
        format!("the mode is {mode}, not one of {:?}", expectations.modes)
    });
    for file in files.values() {
        let name = &file.original_filename;
        findings.unless(expectations.files.contains_key(name), || {
            format!("{name}: nobody ever stored it")
        });
        read_back(api, file, mode, &mut findings).await?;
    }
    Ok(findings)
}

/// The rows of the database, whose log must be empty.
async fn rows(api: &Api, findings: &mut Findings) -> Result<BTreeMap<Uuid, FileMetadata>> {
    let files = api.list().await.context("failed to list the files")?;
    let info = api.info().await?;
    findings.unless(info.wal_pending == Some(0), || {
        format!("{:?} log entries are pending", info.wal_pending)
    });
    findings.unless(info.files == Some(files.len() as u64), || {
        format!("/info counts {:?} files, the list {}", info.files, files.len())
    });
    let bytes: u64 = files.iter().map(|file| file.file_size + ATTRIBUTES_BYTES).sum();
    findings.unless(info.capacity.used_bytes == bytes, || {
        format!("the files take {bytes} bytes, counted are {}", info.capacity.used_bytes)
    });
    Ok(files.into_iter().map(|file| (file.file_id, file)).collect())
}

fn judge(name: &str, expected: &Expected, found: &[&FileMetadata], findings: &mut Findings) {
    match (expected.presence, found) {
        (Presence::Must, []) => findings.add(format!("{name}: LOST, it was acknowledged")),
        (Presence::Never, [_, ..]) => findings.add(format!("{name}: is there, though it was deleted or never whole")),
        (_, [_, _, ..]) => findings.add(format!("{name}: is there {} times", found.len())),
        (_, [file]) if !expected.allows(file) => {
            findings.add(format!(
                "{name}: looks as it never did: {file:?}; it may look like {:?}",
                expected.looks
            ));
        }
        _ => {}
    }
}

/// Content is gone over in every mode but `ar`, which answers metadata alone.
async fn read_back(api: &Api, file: &FileMetadata, mode: Mode, findings: &mut Findings) -> Result<()> {
    let name = &file.original_filename;
    let reply = api.get(&format!("/files/{}", file.file_id)).await;
    match reply {
        Reply::Answer { status: 200, body } if mode != Mode::Ar => {
            findings.unless(checksum(&body) == file.checksum, || {
                format!("{name}: reads back with another sha256")
            });
        }
        Reply::Answer { status: 409, .. } if mode == Mode::Ar => {}
        other => findings.add(format!(
            "{name}: in mode {mode} its content answers {:?}",
            other.status()
        )),
    }
    let metadata: FileMetadata = api.get(&format!("/files/{}/metadata", file.file_id)).await.json()?;
    findings.unless(metadata == *file, || {
        format!("{name}: metadata by id differ from the list's")
    });
    Ok(())
}

/// What stands in the storage folder.
#[derive(Default)]
struct Disk {
    contents: BTreeMap<String, u64>,
    attributes: BTreeMap<String, Vec<u8>>,
    temporary: Vec<String>,
}

impl Disk {
    fn read(root: &Path) -> Result<Self> {
        let mut disk = Self::default();
        disk.collect(root, root)?;
        Ok(disk)
    }

    fn collect(&mut self, root: &Path, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("failed to list {folder:?}"))? {
            let path = entry?.path();
            if path.is_dir() {
                self.collect(root, &path)?;
                continue;
            }
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            if name.starts_with(".artstore/") {
                let is_temporary =
                    name.starts_with(".artstore/tmp/") || name.ends_with(".new") || name.ends_with(".tmp");
                self.temporary.extend(is_temporary.then_some(name));
            } else if let Some(name) = name.strip_suffix(ATTRIBUTES) {
                self.attributes.insert(name.to_owned(), fs::read(&path)?);
            } else {
                self.contents.insert(name, path.metadata()?.len());
            }
        }
        Ok(())
    }

    /// Rows, attr files and contents must be the same files. Where the log was lost, what it would have undone may stay.
    fn compare(&self, files: &BTreeMap<Uuid, FileMetadata>, logless: Option<&Expectations>, findings: &mut Findings) {
        for name in &self.temporary {
            findings.add(format!("{name}: a temporary file stays"));
        }
        for name in self.contents.keys().filter(|name| !self.attributes.contains_key(*name)) {
            findings.unless(logless.is_some(), || {
                format!("{name}: content without attributes stays")
            });
        }
        for (name, bytes) in &self.attributes {
            match serde_json::from_slice::<FileMetadata>(bytes) {
                Err(error) => findings.add(format!("{name}: its attributes cannot be read: {error}")),
                Ok(file) => {
                    let length = self.contents.get(name);
                    if length.is_none() && logless.is_some_and(|expectations| !expectations.must_have(&file)) {
                        continue;
                    }
                    let row = files.get(&file.file_id);
                    findings.unless(row == Some(&file), || {
                        format!("{name}: the row says {row:?}, the attr file {file:?}")
                    });
                    findings.unless(length == Some(&file.file_size), || {
                        format!("{name}: {length:?} bytes of {} are there", file.file_size)
                    });
                }
            }
        }
        for file in files
            .values()
            .filter(|file| !self.attributes.contains_key(&file.storage_path))
        {
            findings.add(format!("{}: a row without a file", file.storage_path));
        }
    }
}
