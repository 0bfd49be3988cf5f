//! Everything at once: writers, deleters, patchers and readers work on an element that is killed again and again.
//!
//! Writers own their files and keep a ledger each. Patchers share a few files and change them under If-Match; what they and the
//! readers saw is judged afterwards by `history`.

mod history;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use element_api::FileMetadata;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use self::history::{Event, History, Seen};
use super::api::{Api, Reply};
use super::chance::Chance;
use super::check::check;
use super::ledger::{Expectations, Expected, Intent, Ledger, Look, Mark, Outcome, Presence};
use super::report::{Options, Row, Tally, rows};
use super::site::{Backend, Element, Site, World};
use super::workload::{checksum, content};

const WRITERS: usize = 8;
const PATCHERS: usize = 4;
const READERS: usize = 4;

/// Files that patchers share.
const SHARED: usize = 3;

/// At the most so many files of one writer stand at a time.
const FILES_OF_ONE: usize = 60;

/// Between two kills, in milliseconds.
const LIFE: std::ops::Range<u64> = 200..1500;

/// While the element is away.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the element listens now; nowhere while it is down. Closed when the run is over.
type Whereabouts = watch::Receiver<Option<Api>>;

/// Runs for `options.seconds` on each database.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for backend in [Backend::Embedded, Backend::Postgres] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let site = world.site(backend)?;
        let name = format!("{} s of kill -9 under load, {}", options.seconds, backend.name());
        let row = crate::step::step(&name, || runtime?.block_on(compete(&site, options, &name)))?;
        site.clear()?;
        all.push(row);
    }
    Ok(all)
}

async fn compete(site: &Site<'_>, options: &Options, name: &str) -> Result<Row> {
    let element = site.start().await?;
    let shared = Arc::new(store_shared(&element.api).await?);
    let (sender, whereabouts) = watch::channel(Some(element.api.clone()));
    let began = Instant::now();
    let (mut writers, mut watchers) = (JoinSet::new(), JoinSet::new());
    for number in 0..WRITERS {
        let chance = Chance::new(options.seed ^ number as u64);
        writers.spawn(Writer::new(chance).write(number, whereabouts.clone()));
    }
    for number in 0..PATCHERS + READERS {
        let patches = number < PATCHERS;
        let watcher = Watcher::new(number, began);
        watchers.spawn(watcher.watch(patches, Arc::clone(&shared), whereabouts.clone()));
    }
    drop(whereabouts);
    let kills = kill_again_and_again(site, element, &sender, options).await?;
    drop(sender);
    let (writers, watchers) = (writers.join_all().await, watchers.join_all().await);

    let element = site.start().await?;
    let (mut expectations, operations, mut wrong) = promised(site, writers);
    let mut history = History::default();
    for watcher in watchers {
        watcher
            .events
            .into_iter()
            .for_each(|(id, event)| history.add(id, event));
        wrong.extend(watcher.wrong);
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
    let what = format!("{name}: {kills} kills, {operations} acknowledged writes, {judged} events of shared files");
    let row = rows("chaos", vec![Tally::new(what, true, &findings, name)]).pop();
    let row = row.context("a tally makes no line")?;
    Ok(Row { points: kills, ..row })
}

/// What the writers were promised, how many writes that were, and what they found wrong themselves. An element that only refuses
/// keeps every promise, so some writes of each kind must be among them.
fn promised(site: &Site<'_>, writers: Vec<Writer>) -> (Expectations, usize, Vec<String>) {
    let (mut expectations, mut wrong) = (Expectations::of(site.mode, &[]), Vec::new());
    let mut done = BTreeMap::from([("create", 0), ("patch", 0), ("delete", 0)]);
    for writer in writers {
        let marks = writer.ledger.marks();
        for mark in &marks {
            let kind = match mark {
                Mark::Ended(Intent::Create { .. }, Outcome::Done(_)) => "create",
                Mark::Ended(Intent::Patch { .. }, Outcome::Done(_)) => "patch",
                Mark::Ended(Intent::Delete { .. }, Outcome::Done(_)) => "delete",
                _ => continue,
            };
            *done.entry(kind).or_default() += 1;
        }
        expectations.files.extend(Expectations::of(site.mode, &marks).files);
        wrong.extend(writer.wrong);
    }
    let never = done.iter().filter(|(_, count)| **count == 0);
    wrong.extend(never.map(|(kind, _)| format!("no {kind} was ever acknowledged")));
    (expectations, done.into_values().sum(), wrong)
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
        files.push(api.create(&name, content(&name, 500), &[]).await.json()?);
    }
    Ok(files)
}

async fn kill_again_and_again(
    site: &Site<'_>,
    mut element: Element,
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

/// A refusal that has no reason, unlike that of an element which is busy.
fn refusal(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Answer { status, body } if !reply.is_success() && *status != 503 => {
            Some(format!("answers {status}: {}", String::from_utf8_lossy(body)))
        }
        _ => None,
    }
}

/// Stores, patches and deletes files of its own.
struct Writer {
    chance: Chance,
    ledger: Ledger,
    /// Those that stand for certain.
    files: Vec<FileMetadata>,
    stored: usize,
    wrong: Vec<String>,
}

impl Writer {
    fn new(chance: Chance) -> Self {
        Self {
            chance,
            ledger: Ledger::default(),
            files: Vec::new(),
            stored: 0,
            wrong: Vec::new(),
        }
    }

    async fn write(mut self, number: usize, mut whereabouts: Whereabouts) -> Self {
        while !is_over(&whereabouts) {
            let Some(api) = reach(&mut whereabouts).await else {
                break;
            };
            let index = self.chance.below(self.files.len());
            let (intent, reply) = match (self.chance.below(4), self.files.get(index)) {
                (0, Some(_)) => self.delete(&api, index).await,
                (1, Some(file)) => {
                    let file = file.clone();
                    self.patch(&api, &file).await
                }
                _ if self.files.len() < FILES_OF_ONE => self.create(&api, number).await,
                _ => {
                    self.read_own(&api).await;
                    continue;
                }
            };
            if let Some(refusal) = refusal(&reply) {
                self.wrong.push(format!("{intent:?} {refusal}"));
            }
            match outcome(&intent, &reply) {
                Err(error) => self.wrong.push(format!("{intent:?}: {error:#}")),
                Ok(outcome) => {
                    if let (Intent::Create { .. }, Outcome::Done(Some(file))) = (&intent, &outcome) {
                        self.files.push(file.as_ref().clone());
                    }
                    self.ledger.note(Mark::Ended(intent, outcome));
                }
            }
            if reply.status().is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self
    }

    async fn delete(&mut self, api: &Api, index: usize) -> (Intent, Reply) {
        // Whatever the answer: this writer is done with it.
        let file = self.files.swap_remove(index);
        let intent = Intent::Delete {
            name: file.original_filename,
        };
        self.ledger.note(Mark::Begun(intent.clone()));
        (intent, api.delete(file.file_id).await)
    }

    async fn patch(&mut self, api: &Api, file: &FileMetadata) -> (Intent, Reply) {
        let description = format!("patched {}", self.chance.next());
        let intent = Intent::Patch {
            name: file.original_filename.clone(),
            description: description.clone(),
        };
        self.ledger.note(Mark::Begun(intent.clone()));
        (intent, api.patch(file.file_id, &description, None).await)
    }

    async fn create(&mut self, api: &Api, number: usize) -> (Intent, Reply) {
        self.stored += 1;
        let name = format!("writer-{number}-{}", self.stored);
        let bytes = content(&name, self.chance.below(3000) * self.chance.below(100));
        let intent = Intent::Create {
            name: name.clone(),
            checksum: checksum(&bytes),
        };
        self.ledger.note(Mark::Begun(intent.clone()));
        (intent, api.create(&name, bytes, &[]).await)
    }

    /// What this writer was promised reads back at any time.
    async fn read_own(&mut self, api: &Api) {
        tokio::time::sleep(PAUSE).await;
        let Some(file) = self.chance.pick(&self.files) else {
            return;
        };
        if let Reply::Answer { status, body } = api.get(&format!("/files/{}", file.file_id)).await {
            let is_right = status == 503 || (status == 200 && checksum(&body) == file.checksum);
            if !is_right {
                let name = &file.original_filename;
                self.wrong
                    .push(format!("{name} answers {status}, or with other content"));
            }
        }
    }
}

fn outcome(intent: &Intent, reply: &Reply) -> Result<Outcome> {
    Ok(match reply {
        Reply::Broken => Outcome::Unknown,
        Reply::Answer { status, .. } if !reply.is_success() => Outcome::Refused(*status),
        Reply::Answer { .. } if matches!(intent, Intent::Delete { .. }) => Outcome::Done(None),
        Reply::Answer { .. } => Outcome::Done(Some(Box::new(reply.json()?))),
    })
}

/// Reads shared files, and changes them at the revision that was read if it is to.
struct Watcher {
    number: usize,
    began: Instant,
    events: Vec<(Uuid, Event)>,
    wrong: Vec<String>,
}

impl Watcher {
    const fn new(number: usize, began: Instant) -> Self {
        Self {
            number,
            began,
            events: Vec::new(),
            wrong: Vec::new(),
        }
    }

    async fn watch(mut self, patches: bool, files: Arc<Vec<FileMetadata>>, mut whereabouts: Whereabouts) -> Self {
        let mut chance = Chance::new(self.number as u64 + 77);
        while !is_over(&whereabouts) {
            let Some(api) = reach(&mut whereabouts).await else {
                break;
            };
            let Some(id) = chance.pick(&files).map(|file| file.file_id) else {
                break;
            };
            let read = self.read(&api, id).await;
            match read {
                Some(revision) if patches => {
                    let token = format!("{}-{}", self.number, chance.next());
                    self.change(&api, id, revision, token).await;
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
        self
    }

    /// Answers the revision that was read, if any was.
    async fn read(&mut self, api: &Api, id: Uuid) -> Option<i64> {
        let start = self.began.elapsed();
        let reply = api.get(&format!("/files/{id}/metadata")).await;
        if let Some(refusal) = refusal(&reply) {
            self.wrong.push(format!("a read of shared file {id} {refusal}"));
        }
        let file = self.file(&reply)?;
        let revision = file.revision;
        self.events.push((id, Event::now(self.began, start, Seen::of(&file))));
        Some(revision)
    }

    /// What a success says.
    fn file(&mut self, reply: &Reply) -> Option<FileMetadata> {
        let file = reply.is_success().then(|| reply.json())?;
        file.map_err(|error| self.wrong.push(format!("{error:#}"))).ok()
    }

    async fn change(&mut self, api: &Api, id: Uuid, expected: i64, token: String) {
        let start = self.began.elapsed();
        let reply = api.patch(id, &token, Some(expected)).await;
        let seen = match (&reply, self.file(&reply)) {
            (_, Some(file)) => Seen::Swapped {
                expected,
                revision: file.revision,
                token,
            },
            (Reply::Answer { status: 412, .. }, _) => Seen::Refused { expected },
            _ => Seen::Unknown { expected, token },
        };
        if let Some(refusal) = refusal(&reply)
            && !matches!(seen, Seen::Refused { .. })
        {
            self.wrong.push(format!("a change of shared file {id} {refusal}"));
        }
        self.events.push((id, Event::now(self.began, start, seen)));
    }
}
