//! Scripts: what is done to an element while it is killed, fails, or is recorded.

use element_api::{FileMetadata, Mode};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use anyhow::{Result, bail};

use super::api::{Api, Reply};
use super::chance::Chance;
use super::ledger::{Intent, Ledger, Mark, Outcome};
use crate::tools::hex;

/// Less than the element writes at once.
pub const SMALL: usize = 1_000;

/// Several times what the element writes at once.
pub const LARGE: usize = 700_000;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store a file of some bytes.
    Create(&'static str, usize),
    /// Store it under an id of one's own.
    CreateAs(&'static str, usize),
    /// Store a file and say that it has another checksum: refused with 422.
    Mismatched(&'static str, usize),
    /// Store another file under the id of this one: refused with 409.
    Taken(&'static str, &'static str),
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
    Step::Taken("intruder", "named"),
    Step::Mismatched("mismatched", LARGE),
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

/// Does all of it, until an answer fails to come. Answers whether the end was reached.
///
/// # Errors
/// When an answer is another than the script expects: nothing has failed yet, so nothing may be refused.
pub async fn perform(steps: &[Step], api: &Api, ledger: &Ledger) -> Result<bool> {
    for step in steps {
        match perform_one(*step, api, ledger).await? {
            None => {}
            Some(Outcome::Unknown) => return Ok(false),
            Some(outcome) if is_expected(*step, &outcome) => {}
            Some(outcome) => bail!("{step:?} ends with {outcome:?}, which the script does not expect"),
        }
    }
    Ok(true)
}

/// The same on an element that something fails: refusals are no reason to stop.
pub async fn attempt(steps: &[Step], api: &Api, ledger: &Ledger) -> Result<bool> {
    for step in steps {
        if perform_one(*step, api, ledger).await? == Some(Outcome::Unknown) {
            return Ok(false);
        }
    }
    Ok(true)
}

const fn is_expected(step: Step, outcome: &Outcome) -> bool {
    match step {
        Step::Mismatched(..) => matches!(outcome, Outcome::Refused(422)),
        Step::Taken(..) => matches!(outcome, Outcome::Refused(409)),
        _ => matches!(outcome, Outcome::Done(_)),
    }
}

/// How the step ended; nothing, when it was left out or there is no answer to wait for.
async fn perform_one(step: Step, api: &Api, ledger: &Ledger) -> Result<Option<Outcome>> {
    let Some(intent) = intent(step, ledger) else {
        return Ok(None);
    };
    ledger.note(Mark::Begun(intent.clone()));
    let reply = match step {
        Step::Create(name, size) => api.create(name, content(name, size), &[]).await,
        Step::CreateAs(name, size) => {
            let id = id_of(name).to_string();
            api.create(name, content(name, size), &[("file_id", &id)]).await
        }
        Step::Mismatched(name, size) => {
            let other = checksum(b"another");
            api.create(name, content(name, size), &[("checksum", &other)]).await
        }
        Step::Taken(name, other) => {
            let id = id_of(other).to_string();
            api.create(name, content(name, SMALL), &[("file_id", &id)]).await
        }
        Step::Abort(name) => {
            api.abort(name, &content(name, LARGE)).await?;
            return Ok(None);
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
    ledger.note(Mark::Ended(intent, outcome.clone()));
    Ok(Some(outcome))
}

/// What a step asks for; nothing, when it is about a file that could not be stored before.
fn intent(step: Step, ledger: &Ledger) -> Option<Intent> {
    Some(match step {
        Step::Create(name, size) | Step::CreateAs(name, size) => Intent::Create {
            name: name.to_owned(),
            checksum: checksum(&content(name, size)),
        },
        Step::Taken(name, other) => {
            known(other, ledger)?;
            Intent::Never { name: name.to_owned() }
        }
        Step::Mismatched(name, _) | Step::Abort(name) => Intent::Never { name: name.to_owned() },
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
        Mark::Ended(_, Outcome::Done(Some(file))) if file.original_filename == name => Some(file),
        Mark::Found { files, .. } => {
            let found = files.into_iter().find(|file| file.original_filename == name);
            found.map(Box::new)
        }
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
