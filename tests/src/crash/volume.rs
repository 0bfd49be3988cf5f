//! A volume that is really full: a small ext4 of this run's own, filled up by somebody else while the element works on it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::api::{Api, Reply};
use super::check::{Findings, check};
use super::ledger::{Expectations, Ledger, Mark, Outcome};
use super::report::{Row, Tally, block_on, rows};
use super::site::{Backend, World};
use super::workload::{SOME, Step, attempt, checksum, perform};
use crate::command::{self, command};

/// Size of the volume.
const BYTES: u64 = 48 << 20;

/// How often everything is read while the volume is full.
const READS: usize = 20;

/// A mounted volume; unmounted when dropped.
struct Volume {
    folder: tempfile::TempDir,
}

impl Volume {
    fn mount() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("artstore-volume-").tempdir()?;
        let image = folder.path().join("image");
        File::create(&image)?.set_len(BYTES)?;
        command::run(command("mkfs.ext4", ["-q", "-m", "0"]).arg(&image))?;
        fs::create_dir(folder.path().join("mounted"))?;
        let volume = Self { folder };
        command::run(command("mount", ["-o", "loop"]).arg(&image).arg(volume.path()))
            .context("a full volume needs root and a loop device")?;
        Ok(volume)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Takes all the room there is.
    fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.path().join("ballast"))?;
        for size in [1 << 20, 1 << 12, 1 << 8] {
            while ballast.write(&vec![1; size]).is_ok() {}
        }
        // What allocates late finds out now.
        let _full = ballast.sync_all();
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        fs::remove_file(self.path().join("ballast")).context("failed to make room")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Nothing but the folder is left behind when this fails, which the caller hears of by its removal.
        let _unmounted = command::run(command("umount", ["--lazy"]).arg(self.path()));
    }
}

/// Fills the volume under an element with each database.
pub fn run(world: &World) -> Result<Vec<Row>> {
    let tallies = [Backend::Embedded, Backend::Postgres].map(|backend| block_on(fill_up(world, backend)));
    Ok(rows("fault", tallies.into_iter().collect::<Result<_>>()?))
}

async fn fill_up(world: &World, backend: Backend) -> Result<Tally> {
    let volume = Volume::mount()?;
    let mut findings = Findings::default();
    let ledger = Ledger::default();
    let site = world.site_in(backend, &volume.path())?;
    let element = site.start().await?;
    ensure!(
        perform(SOME, &element.api, &ledger).await?,
        "the element ended before its volume was full"
    );
    volume.fill()?;
    for step in [
        Step::Create("refused", 200_000),
        Step::Patch("one", "no room"),
        Step::Create("refused too", 10),
    ] {
        attempt(&[step], &element.api, &ledger).await?;
        let last = ledger.marks().pop();
        // Small changes may find room that is left; what may not be is any other answer.
        let is_patch = matches!(step, Step::Patch(..));
        match last {
            Some(Mark::Ended(_, Outcome::Refused(507))) => {}
            Some(Mark::Ended(_, Outcome::Done(_))) if is_patch => {}
            other => findings.add(format!("{step:?} on a full volume ends with {other:?}, not 507")),
        }
    }
    read_often(&element.api, &mut findings).await?;
    volume.empty()?;
    for step in [Step::Create("stored again", 200_000), Step::Patch("one", "room again")] {
        attempt(&[step], &element.api, &ledger).await?;
        if !matches!(ledger.marks().pop(), Some(Mark::Ended(_, Outcome::Done(_)))) {
            findings.add(format!(
                "{step:?} fails though there is room again: {:?}",
                ledger.marks().pop()
            ));
        }
    }
    if !findings.0.is_empty() {
        findings.add(element.log.tail());
    }
    element.kill()?;
    let element = site.start().await?;
    let expectations = Expectations::of(site.mode, &ledger.marks());
    findings
        .0
        .append(&mut check(&element.api, &site.root(), &expectations, false).await?.0);
    element.kill()?;
    let what = format!("full volume on {}", backend.name());
    Ok(Tally::new(what.clone(), true, &findings, &what))
}

/// So often that the log, which is on this volume too, cannot be written any more.
async fn read_often(api: &Api, findings: &mut Findings) -> Result<()> {
    let files = api.list().await?;
    for file in std::iter::repeat_n(files, READS).flatten() {
        let name = &file.original_filename;
        match api.get(&format!("/files/{}", file.file_id)).await {
            Reply::Answer { status: 200, body } if checksum(&body) == file.checksum => {}
            other => findings.add(format!("{name}: cannot be read on a full volume: {:?}", other.status())),
        }
    }
    Ok(())
}
