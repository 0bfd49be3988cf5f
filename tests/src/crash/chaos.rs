//! Everything at once: writers, deleters, patchers and readers work on an element that is killed again and again.
//!
//! Writers own their files and keep a ledger each. Patchers share a few files and change them under If-Match; what they and the
//! readers saw is judged afterwards by `history`.

mod history;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use element_api::FileMetadata;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use self::history::{Event, History, Seen};
use super::api::{Api, Reply};
use super::chance::Chance;
use super::check::check;
use super::ledger::{Expectations, Expected, Intent, Ledger, Look, Mark, Outcome, Presence};
use super::report::{Options, Row, Tally};
use super::site::{Backend, Site, World};
use super::workload::{checksum, content};

const WRITERS: usize = 8;
const PATCHERS: usize = 4;
const READERS: usize = 4;

/// Files that patchers share.
const SHARED: usize = 3;

/// At the most so many files of one writer: all of them fit one page of the list.
const FILES_OF_ONE: usize = 100;

/// Between two kills, in milliseconds.
const LIFE: std::ops::Range<u64> = 200..1500;

/// While the element is away.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the element listens now; nowhere while it is down. Closed when the run is over.
type Whereabouts = watch::Receiver<Option<Api>>;

/// Runs for `options.seconds` on each database.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for backend in [Backend::Embedded, Backend::Postgres] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let site = world.site(backend)?;
        let name = format!("{} s of kill -9 under load, {}", options.seconds, backend.name());
        let row = crate::step::step(&name, || runtime?.block_on(compete(&site, options, &name)))?;
        site.clear()?;
        rows.push(row);
    }
    Ok(rows)
}

async fn compete(site: &Site<'_>, options: &Options, name: &str) -> Result<Row> {
    let element = site.start().await?;
    let shared = Arc::new(store_shared(&element.api).await?);
    let (sender, whereabouts) = watch::channel(Some(element.api.clone()));
    let began = Instant::now();
    let (mut writers, mut watchers) = (JoinSet::new(), JoinSet::new());
    for number in 0..WRITERS {
        let chance = Chance::new(options.seed ^ number as u64);
        writers.spawn(write(number, whereabouts.clone(), chance));
    }
    for number in 0..PATCHERS + READERS {
        let patches = number < PATCHERS;
        watchers.spawn(watch_shared(
            number,
            patches,
            Arc::clone(&shared),
            whereabouts.clone(),
            began,
        ));
    }
    drop(whereabouts);
    let kills = kill_again_and_again(site, element, &sender, options).await?;
    drop(sender);
    let (ledgers, events) = (writers.join_all().await, watchers.join_all().await);

    let element = site.start().await?;
    let mut expectations = Expectations::default();
    let mut operations = 0;
    let mut wrong = Vec::new();
    for marks in ledgers {
        match marks {
            Ok(marks) => {
                operations += marks.len() / 2;
                expectations.files.extend(Expectations::of(&marks).files);
            }
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    let mut history = History::default();
    for events in events {
        match events {
            Ok(events) => events.into_iter().for_each(|(id, event)| history.add(id, event)),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    for file in shared.iter() {
        expectations.files.insert(file.original_filename.clone(), whole(file));
        let last: FileMetadata = element
            .api
            .get(&format!("/files/{}/metadata", file.file_id))
            .await
            .json()?;
        history.add(file.file_id, Event::now(began, began.elapsed(), Seen::of(&last)));
    }
    let mut findings = check(&element.api, &site.root(), &expectations, false).await?;
    element.kill()?;
    let (judged, impossible) = history.judge();
    findings.0.extend(wrong.into_iter().chain(impossible));
    let what = format!("{name}: {kills} kills, {operations} writes, {judged} events of shared files");
    let mut row = Row::new("chaos", what);
    row.add(Tally::new(true, &findings, name));
    row.points = kills;
    Ok(row)
}

fn whole(file: &FileMetadata) -> Expected {
    Expected {
        checksum: Some(file.checksum.clone()),
        presence: Presence::Must,
        looks: vec![Look::Whole],
    }
}

async fn store_shared(api: &Api) -> Result<Vec<FileMetadata>> {
    let mut files = Vec::new();
    for number in 0..SHARED {
        let name = format!("shared-{number}");
        files.push(api.create(&name, content(&name, 500), None).await.json()?);
    }
    Ok(files)
}

async fn kill_again_and_again(
    site: &Site<'_>,
    mut element: super::site::Element,
    whereabouts: &watch::Sender<Option<Api>>,
    options: &Options,
) -> Result<usize> {
    let (started, mut kills) = (Instant::now(), 0);
    let mut chance = Chance::new(options.seed);
    let spread = usize::try_from(LIFE.end - LIFE.start)?;
    while started.elapsed() < Duration::from_secs(options.seconds) {
        let life = LIFE.start + chance.below(spread) as u64;
        tokio::time::sleep(Duration::from_millis(life)).await;
        whereabouts.send_replace(None);
        element.kill()?;
        kills += 1;
        element = site
            .start()
            .await
            .with_context(|| format!("failed to start after kill {kills}"))?;
        whereabouts.send_replace(Some(element.api.clone()));
    }
    element.kill()?;
    Ok(kills)
}

/// The element, as soon as it is there; none when the run is over.
async fn reach(whereabouts: &mut Whereabouts) -> Option<Api> {
    whereabouts.wait_for(Option::is_some).await.ok()?.clone()
}

fn is_over(whereabouts: &Whereabouts) -> bool {
    whereabouts.has_changed().is_err()
}

/// Stores, patches and deletes files of its own.
async fn write(number: usize, mut whereabouts: Whereabouts, mut chance: Chance) -> Result<Vec<Mark>> {
    let ledger = Ledger::default();
    let mut files: Vec<FileMetadata> = Vec::new();
    let mut stored = 0;
    while !is_over(&whereabouts) {
        let Some(api) = reach(&mut whereabouts).await else {
            break;
        };
        let index = chance.below(files.len());
        let (intent, reply) = match (chance.below(4), files.get(index)) {
            (0, Some(file)) => {
                let (name, id) = (file.original_filename.clone(), file.file_id);
                let intent = Intent::Delete { name };
                ledger.note(Mark::Begun(intent.clone()));
                // Whatever the answer: this writer is done with it.
                files.swap_remove(index);
                (intent, api.delete(id).await)
            }
            (1, Some(file)) => {
                let description = format!("patched {}", chance.next());
                let intent = Intent::Patch {
                    name: file.original_filename.clone(),
                    description: description.clone(),
                };
                ledger.note(Mark::Begun(intent.clone()));
                (intent, api.patch(file.file_id, &description, None).await)
            }
            _ if stored < FILES_OF_ONE => {
                stored += 1;
                let name = format!("writer-{number}-{stored}");
                let bytes = content(&name, chance.below(3000) * chance.below(100));
                let intent = Intent::Create {
                    name: name.clone(),
                    checksum: checksum(&bytes),
                };
                ledger.note(Mark::Begun(intent.clone()));
                (intent, api.create(&name, bytes, None).await)
            }
            _ => {
                read_own(&api, &files, &mut chance).await?;
                continue;
            }
        };
        ensure!(
            reply.status() != Some(404),
            "a file of its own is not found: {intent:?}"
        );
        let outcome = outcome(&intent, &reply)?;
        if let (Intent::Create { .. }, Outcome::Done(Some(file))) = (&intent, &outcome) {
            files.push(file.as_ref().clone());
        }
        ledger.note(Mark::Ended(outcome));
        if reply.status().is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(ledger.marks())
}

fn outcome(intent: &Intent, reply: &Reply) -> Result<Outcome> {
    Ok(match reply {
        Reply::Broken => Outcome::Unknown,
        Reply::Answer { status, .. } if !reply.is_success() => Outcome::Refused(*status),
        Reply::Answer { .. } if matches!(intent, Intent::Delete { .. }) => Outcome::Done(None),
        Reply::Answer { .. } => Outcome::Done(Some(Box::new(reply.json()?))),
    })
}

/// What this writer was promised reads back at any time.
async fn read_own(api: &Api, files: &[FileMetadata], chance: &mut Chance) -> Result<()> {
    tokio::time::sleep(PAUSE).await;
    let Some(file) = chance.pick(files) else { return Ok(()) };
    if let Reply::Answer { status, body } = api.get(&format!("/files/{}", file.file_id)).await {
        let is_right = status == 503 || (status == 200 && checksum(&body) == file.checksum);
        ensure!(
            is_right,
            "{} answers {status} with other content",
            file.original_filename
        );
    }
    Ok(())
}

/// Reads shared files, and changes them at the revision that was read if it is to.
async fn watch_shared(
    number: usize,
    patches: bool,
    files: Arc<Vec<FileMetadata>>,
    mut whereabouts: Whereabouts,
    began: Instant,
) -> Result<Vec<(Uuid, Event)>> {
    let mut chance = Chance::new(number as u64 + 77);
    let mut events = Vec::new();
    while !is_over(&whereabouts) {
        let Some(api) = reach(&mut whereabouts).await else {
            break;
        };
        let Some(id) = chance.pick(&files).map(|file| file.file_id) else {
            break;
        };
        let start = began.elapsed();
        let reply = api.get(&format!("/files/{id}/metadata")).await;
        if !reply.is_success() {
            ensure!(reply.status() != Some(404), "shared file {id} is not found");
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let file: FileMetadata = reply.json()?;
        events.push((id, Event::now(began, start, Seen::of(&file))));
        if !patches {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let (expected, token, start) = (file.revision, format!("{number}-{}", chance.next()), began.elapsed());
        let reply = api.patch(id, &token, Some(expected)).await;
        let seen = match &reply {
            Reply::Answer { .. } if reply.is_success() => {
                let file: FileMetadata = reply.json()?;
                Seen::Swapped {
                    expected,
                    revision: file.revision,
                    token,
                }
            }
            Reply::Answer { status: 412, .. } => Seen::Refused { expected },
            Reply::Answer { .. } | Reply::Broken => Seen::Unknown { expected, token },
        };
        events.push((id, Event::now(began, start, seen)));
    }
    Ok(events)
}
