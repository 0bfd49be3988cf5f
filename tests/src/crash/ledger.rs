//! What was asked of an element, what it promised, and so what must, may and must not be found after a crash.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use element_api::{FileMetadata, Mode};

use super::power::{Change, Journal};
use super::tracer::Control;

/// Something asked for. Files go by names, of which no two are the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// A new file.
    Create {
        /// Its name.
        name: String,
        /// Its sha256.
        checksum: String,
    },
    /// A new file whose upload is given up midway, or that must be refused.
    Never {
        /// Its name.
        name: String,
    },
    /// Another description.
    Patch {
        /// The file's name.
        name: String,
        /// The description.
        description: String,
    },
    /// A file's end.
    Delete {
        /// Its name.
        name: String,
    },
    /// Another mode.
    Mode(Mode),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done, with the file's metadata if there still is a file.
    Done(Option<Box<FileMetadata>>),
    /// Refused with a status.
    Refused(u16),
    /// The connection broke.
    Unknown,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// Asked for.
    Begun(Intent),
    /// How that ended.
    Ended(Intent, Outcome),
    /// What an element said once it was ready. Whatever was open before is decided, and this is as good as a promise.
    Found {
        /// Every file.
        files: Vec<FileMetadata>,
        /// The mode.
        mode: Mode,
    },
}

/// See the module. Clones share it, and several clients may write to it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: Arc<Mutex<Vec<Mark>>>,
    control: Option<Arc<Control>>,
    journal: Option<Arc<Journal>>,
}

impl Ledger {
    /// From here on it tells a tracer how far it has come.
    #[must_use]
    pub fn followed_by(self, control: Arc<Control>) -> Self {
        control.moment.store(self.lock().len(), Ordering::SeqCst);
        Self {
            control: Some(control),
            ..self
        }
    }

    /// From here on its lines are part of a journal.
    #[must_use]
    pub fn within(self, journal: Arc<Journal>) -> Self {
        Self {
            journal: Some(journal),
            ..self
        }
    }

    /// Writes a line.
    pub fn note(&self, mark: Mark) {
        let mut marks = self.lock();
        marks.push(mark);
        if let Some(control) = &self.control {
            control.moment.store(marks.len(), Ordering::SeqCst);
        }
        if let Some(journal) = &self.journal {
            journal.note(Change::Mark(marks.len()));
        }
    }

    /// Everything so far.
    pub fn marks(&self) -> Vec<Mark> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It was promised.
    Must,
    /// It was asked for, or its end was.
    May,
    /// Its end was promised, or it never was whole.
    Never,
}

/// What a file may look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// As it was promised.
    Exactly(Box<FileMetadata>),
    /// With this description.
    Described(String),
    /// Any way, as long as the content is right.
    Whole,
}

/// What is known of one file.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its sha256; none for a file that never was whole.
    pub checksum: Option<String>,
    /// Whether it is there.
    pub presence: Presence,
    /// What it may look like.
    pub looks: Vec<Look>,
}

impl Expected {
    /// Whether a file looks as it may.
    pub fn allows(&self, file: &FileMetadata) -> bool {
        self.checksum.as_ref() == Some(&file.checksum)
            && self.looks.iter().any(|look| match look {
                Look::Exactly(promised) => promised.as_ref() == file,
                Look::Described(description) => file.description.as_ref() == Some(description),
                Look::Whole => true,
            })
    }
}

/// What must be found after a crash.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// By name.
    pub files: BTreeMap<String, Expected>,
    /// Modes the element may be in.
    pub modes: Vec<Mode>,
}

impl Expectations {
    /// What these lines promise of an element that began in the mode `first`.
    pub fn of(first: Mode, marks: &[Mark]) -> Self {
        let mut expectations = Self {
            files: BTreeMap::new(),
            modes: vec![first],
        };
        for mark in marks {
            match mark {
                Mark::Begun(intent) => expectations.begin(intent),
                Mark::Ended(intent, outcome) => expectations.end(intent, outcome),
                Mark::Found { files, mode } => expectations.find(files, *mode),
            }
        }
        expectations
    }

    /// Whether this file was promised to be there.
    pub fn must_have(&self, file: &FileMetadata) -> bool {
        let expected = self.files.get(&file.original_filename);
        expected.is_some_and(|expected| expected.presence == Presence::Must)
    }

    fn begin(&mut self, intent: &Intent) {
        match intent {
            Intent::Create { name, checksum } => {
                self.files.entry(name.clone()).or_insert_with(|| Expected {
                    checksum: Some(checksum.clone()),
                    presence: Presence::May,
                    looks: vec![Look::Whole],
                });
            }
            Intent::Never { name } => {
                let never = Expected {
                    checksum: None,
                    presence: Presence::Never,
                    looks: Vec::new(),
                };
                self.files.insert(name.clone(), never);
            }
            Intent::Patch { name, description } => {
                if let Some(file) = self.files.get_mut(name) {
                    file.looks.push(Look::Described(description.clone()));
                }
            }
            Intent::Delete { name } => {
                if let Some(file) = self.files.get_mut(name) {
                    file.presence = Presence::May;
                }
            }
            Intent::Mode(mode) => self.modes.push(*mode),
        }
    }

    fn end(&mut self, intent: &Intent, outcome: &Outcome) {
        match (intent, outcome) {
            (Intent::Create { name, .. } | Intent::Patch { name, .. }, Outcome::Done(Some(metadata))) => {
                if let Some(file) = self.files.get_mut(name) {
                    file.presence = Presence::Must;
                    file.looks = vec![Look::Exactly(metadata.clone())];
                }
            }
            (Intent::Delete { name }, Outcome::Done(_)) => {
                if let Some(file) = self.files.get_mut(name) {
                    file.presence = Presence::Never;
                }
            }
            (Intent::Mode(mode), Outcome::Done(_)) => self.modes = vec![*mode],
            // Refused, or no answer: it may have happened, or yet happen.
            _ => {}
        }
    }

    /// Decides what was open. What cannot be as it was found stays as it was promised.
    fn find(&mut self, found: &[FileMetadata], mode: Mode) {
        for (name, expected) in &mut self.files {
            let file = found.iter().find(|file| file.original_filename == *name);
            match file {
                Some(file) if expected.presence != Presence::Never && expected.allows(file) => {
                    expected.presence = Presence::Must;
                    expected.looks = vec![Look::Exactly(Box::new(file.clone()))];
                }
                None if expected.presence == Presence::May => expected.presence = Presence::Never,
                _ => {}
            }
        }
        if self.modes.contains(&mode) {
            self.modes = vec![mode];
        }
    }
}

#[cfg(test)]
mod tests;
