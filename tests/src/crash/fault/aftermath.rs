//! An element after a call of it has failed: what it must still do, and what it must not do any more.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use element_api::Mode;
use nix::errno::Errno;

use crate::crash::api::{Api, Reply};
use crate::crash::check::Findings;
use crate::crash::ledger::{Expectations, Intent, Ledger, Mark, Outcome, Presence};
use crate::crash::tracer::{Call, Failure, Kind, Strike};
use crate::crash::workload::checksum;

/// How long writes may take to come back. Generous: only a defect reaches it.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// What becomes of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// They come back by themselves.
    ComeBack,
    /// They are refused until a restart.
    Stop,
    /// One or the other: SQLite does not say that there was no room for a flush, and says nothing when it could not flush a folder,
    /// or its log and its file when it copies one to the other.
    Either,
}

impl Writes {
    /// What becomes of them after that one of `calls` failed.
    pub(super) fn after(failure: Failure, strike: &Strike, calls: &[Call]) -> Self {
        let (call, is_broken) = (&strike.call, failure == Failure::Error(Errno::EIO));
        match call.kind {
            Kind::Sync if call.is_own_flush() && is_broken => Self::Stop,
            Kind::Sync if call.is_own_flush() => Self::ComeBack,
            Kind::Sync if ends_transaction(strike, calls) && is_broken => Self::Stop,
            Kind::Sync => Self::Either,
            _ => Self::ComeBack,
        }
    }
}

/// Whether SQLite flushes its log for a transaction: it has written to it since it flushed it last.
fn ends_transaction(strike: &Strike, calls: &[Call]) -> bool {
    let log = &strike.call.path;
    let mut before = calls.iter().take(strike.number.saturating_sub(1)).rev();
    let last = before.find(|call| call.path == *log);
    log.ends_with("element.db-wal") && last.is_some_and(|call| call.kind == Kind::Write)
}

/// Everything acknowledged is served while the element lives with the failure.
pub(super) async fn reads_go_on(api: &Api, ledger: &Ledger, findings: &mut Findings) -> Result<()> {
    let (mode, marks) = (api.mode().await?.mode, ledger.marks());
    for (name, expected) in Expectations::of(mode, &marks).files {
        if expected.presence != Presence::Must {
            continue;
        }
        let id = marks.iter().rev().find_map(|mark| match mark {
            Mark::Ended(_, Outcome::Done(Some(file))) if file.original_filename == name => Some(file.file_id),
            _ => None,
        });
        let Some(id) = id else { continue };
        match api.get(&format!("/files/{id}")).await {
            Reply::Answer { status: 200, body } if Some(checksum(&body)) == expected.checksum => {}
            Reply::Answer { status: 409, .. } if mode == Mode::Ar => {}
            other => findings.add(format!(
                "{name}: cannot be read after the failure: {:?}",
                other.status()
            )),
        }
    }
    Ok(())
}

/// Whether writes may go on depends on what failed.
pub(super) async fn writes(api: &Api, writes: Writes, ledger: &Ledger, findings: &mut Findings) -> Result<()> {
    let answer = if writes == Writes::ComeBack {
        None
    } else {
        write(api, ledger, "refused").await?
    };
    let ready = api.get("/health/ready").await.status();
    let has_stopped = answer.as_ref().is_none_or(|reply| reply.status() == Some(503)) && ready == Some(503);
    match writes {
        Writes::Stop if !has_stopped => {
            let answer = answer.map(|reply| reply.status());
            findings.add(format!(
                "after a failed flush a write answers {answer:?} and ready {ready:?}, not 503"
            ));
            Ok(())
        }
        Writes::Either | Writes::Stop if has_stopped => Ok(()),
        _ => come_back(api, ledger).await.or_else(|error| {
            findings.add(format!("{error:#}"));
            Ok(())
        }),
    }
}

/// Writes in whatever way the mode allows; nothing where it allows none.
async fn write(api: &Api, ledger: &Ledger, name: &str) -> Result<Option<Reply>> {
    let content = name.as_bytes().to_vec();
    let intent = match api.mode().await?.mode {
        Mode::Edit | Mode::Rw => Intent::Create {
            name: name.to_owned(),
            checksum: checksum(&content),
        },
        Mode::Ro => Intent::Mode(Mode::Rw),
        Mode::Ar => return Ok(None),
    };
    ledger.note(Mark::Begun(intent.clone()));
    let (reply, is_file) = match &intent {
        Intent::Mode(mode) => (api.change_mode(*mode).await, false),
        _ => (api.create(name, content, &[]).await, true),
    };
    if reply.is_success() {
        let file = is_file.then(|| reply.json().map(Box::new)).transpose()?;
        ledger.note(Mark::Ended(intent, Outcome::Done(file)));
    }
    Ok(Some(reply))
}

/// Waits until something is written.
async fn come_back(api: &Api, ledger: &Ledger) -> Result<()> {
    let started = Instant::now();
    // A write that was refused may have happened: each has a name of its own.
    for attempt in 0_usize.. {
        match write(api, ledger, &format!("afterwards-{attempt}")).await? {
            Some(reply) if !reply.is_success() => {
                if started.elapsed() > RECOVERY_LIMIT {
                    bail!("writes did not come back: {:?}", reply.status());
                }
            }
            _ => break,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
