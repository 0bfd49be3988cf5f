//! Floors: the least a durable upload can cost on this disk and this database, with no HTTP around it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postgres::{Client, Statement};
use sha2::{Digest, Sha256};

use crate::database::Database;

/// One client of the floor for small uploads: write, fsync, rename, fsync of the folder, one commit.
pub(crate) struct SmallFloor {
    folder: PathBuf,
    client: Client,
    insert: Statement,
    content: Vec<u8>,
    names: String,
    count: usize,
}

/// Makes the table the commits go to.
pub(crate) fn prepare(database: &Database, name: &str) -> Result<()> {
    database.create(name)?;
    let sql = "CREATE TABLE floor (id TEXT PRIMARY KEY, document TEXT NOT NULL)";
    Ok(database.connect(name)?.batch_execute(sql)?)
}

impl SmallFloor {
    pub(crate) fn new(database: &Database, name: &str, folder: &Path, content: &[u8], names: String) -> Result<Self> {
        let mut client = database.connect(name)?;
        let insert = client.prepare("INSERT INTO floor VALUES ($1, $2)")?;
        Ok(Self {
            folder: folder.to_owned(),
            client,
            insert,
            content: content.to_owned(),
            names,
            count: 0,
        })
    }

    /// Stores one file durably.
    pub(crate) fn store(&mut self) -> Result<()> {
        self.count += 1;
        let name = format!("{}-{}", self.names, self.count);
        let (temporary, place) = (self.folder.join(format!("{name}.new")), self.folder.join(&name));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(&self.content)?;
        file.sync_data()?;
        fs::rename(&temporary, &place)?;
        File::open(&self.folder)?.sync_all()?;
        self.client
            .execute(&self.insert, &[&name, &"{\"file_size\":4096}"])
            .context("failed to commit a row")?;
        Ok(())
    }
}

/// The floor for a large upload: read, hash, write, fsync, on one thread.
pub(crate) fn large(source: &Path, place: &Path) -> Result<()> {
    const PIECE: usize = 1 << 20;
    let (mut source, mut target) = (File::open(source)?, File::create(place)?);
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        let got = source.read(&mut piece)?;
        if got == 0 {
            break;
        }
        let bytes = piece.get(..got).unwrap_or_default();
        hasher.update(bytes);
        target.write_all(bytes)?;
    }
    // Used, so that the compiler cannot leave the hashing out.
    anyhow::ensure!(
        hasher.finalize().iter().any(|byte| *byte != 0),
        "an impossible checksum"
    );
    target.sync_data()?;
    Ok(())
}
