//! Scripts: what is done to an element while it is killed, fails, or is recorded.

use element_api::{FileMetadata, Mode};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use anyhow::Result;

use super::api::{Api, Reply};
use super::chance::Chance;
use super::ledger::{Intent, Ledger, Mark, Outcome};
use crate::tools::hex;

/// Less than the element writes at once.
const SMALL: usize = 1_000;

/// Several times what the element writes at once.
const LARGE: usize = 700_000;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store a file of some bytes.
    Create(&'static str, usize),
    /// Store it under an id of one's own.
    CreateAs(&'static str, usize),
    /// Begin to store a file and go away.
    Abort(&'static str),
    /// Change its description.
    Patch(&'static str, &'static str),
    /// Delete it.
    Delete(&'static str),
    /// Change the mode.
    Mode(Mode),
}

/// Every kind of write of a file.
pub const FILES: &[Step] = &[
    Step::Create("first", SMALL),
    Step::Create("large", LARGE),
    Step::Patch("first", "one"),
    Step::Abort("aborted"),
    Step::CreateAs("named", SMALL),
    Step::CreateAs("named", SMALL),
    Step::Patch("named", "two"),
    Step::Delete("first"),
    Step::Create("last", 0),
    Step::Delete("named"),
];

/// Every change of the mode that leads on, with files between.
pub const MODES: &[Step] = &[
    Step::Create("first", SMALL),
    Step::Mode(Mode::Ro),
    Step::Mode(Mode::Rw),
    Step::Patch("first", "one"),
    Step::Mode(Mode::Ro),
    Step::Mode(Mode::Ar),
];

/// A few files, for what comes after them.
pub const SOME: &[Step] = &[
    Step::Create("one", SMALL),
    Step::Create("two", SMALL),
    Step::Create("three", SMALL),
    Step::Patch("two", "changed"),
    Step::Delete("three"),
    Step::Create("four", LARGE),
];

/// Does all of it, until an answer fails to come. Returns whether the end was reached.
pub async fn perform(steps: &[Step], api: &Api, ledger: &Ledger) -> Result<bool> {
    for step in steps {
        if !perform_one(*step, api, ledger).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn perform_one(step: Step, api: &Api, ledger: &Ledger) -> Result<bool> {
    let Some(intent) = intent(step, ledger) else {
        return Ok(true);
    };
    ledger.note(Mark::Begun(intent));
    let reply = match step {
        Step::Create(name, size) => api.create(name, content(name, size), None).await,
        Step::CreateAs(name, size) => api.create(name, content(name, size), Some(id_of(name))).await,
        Step::Abort(name) => {
            api.abort(name, &content(name, LARGE)).await?;
            return Ok(true);
        }
        Step::Patch(name, description) => match known(name, ledger) {
            Some(file) => api.patch(file.file_id, description, None).await,
            None => Reply::Broken,
        },
        Step::Delete(name) => match known(name, ledger) {
            Some(file) => api.delete(file.file_id).await,
            None => Reply::Broken,
        },
        Step::Mode(mode) => api.change_mode(mode).await,
    };
    let has_metadata = !matches!(step, Step::Delete(_) | Step::Mode(_));
    let outcome = match &reply {
        Reply::Answer { .. } if reply.is_success() && has_metadata => Outcome::Done(Some(Box::new(reply.json()?))),
        Reply::Answer { .. } if reply.is_success() => Outcome::Done(None),
        Reply::Answer { status, .. } => Outcome::Refused(*status),
        Reply::Broken => Outcome::Unknown,
    };
    let goes_on = outcome != Outcome::Unknown;
    ledger.note(Mark::Ended(outcome));
    Ok(goes_on)
}

/// What a step asks for; nothing, when it is about a file that could not be stored before.
fn intent(step: Step, ledger: &Ledger) -> Option<Intent> {
    Some(match step {
        Step::Create(name, size) | Step::CreateAs(name, size) => Intent::Create {
            name: name.to_owned(),
            checksum: checksum(&content(name, size)),
        },
        Step::Abort(name) => Intent::Abort { name: name.to_owned() },
        Step::Patch(name, description) => Intent::Patch {
            name: known(name, ledger)?.original_filename,
            description: description.to_owned(),
        },
        Step::Delete(name) => Intent::Delete {
            name: known(name, ledger)?.original_filename,
        },
        Step::Mode(mode) => Intent::Mode(mode),
    })
}

/// What the element last said of a file.
fn known(name: &str, ledger: &Ledger) -> Option<Box<FileMetadata>> {
    ledger.marks().into_iter().rev().find_map(|mark| match mark {
        Mark::Ended(Outcome::Done(Some(file))) if file.original_filename == name => Some(file),
        _ => None,
    })
}

/// The id a client gives a file.
fn id_of(name: &str) -> Uuid {
    let mut chance = Chance::new(seed(name));
    Uuid::from_u64_pair(chance.next(), chance.next())
}

/// A file's content, which follows from its name.
pub fn content(name: &str, size: usize) -> Vec<u8> {
    Chance::new(seed(name)).bytes(size)
}

fn seed(name: &str) -> u64 {
    name.bytes()
        .fold(0, |seed, byte| seed.wrapping_mul(131).wrapping_add(u64::from(byte)))
}

/// The sha256 in hex.
pub fn checksum(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}
