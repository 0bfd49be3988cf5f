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
    /// A new file whose upload is given up midway.
    Abort {
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
    /// The end of what was asked for last.
    Ended(Outcome),
}

/// See the module. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: Arc<Mutex<Vec<Mark>>>,
    control: Option<Arc<Control>>,
    journal: Option<Arc<Journal>>,
}

impl Ledger {
    /// A ledger that tells a tracer how far it has come.
    pub fn with(control: Option<Arc<Control>>, journal: Option<Arc<Journal>>) -> Self {
        Self {
            marks: Arc::default(),
            control,
            journal,
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
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// By name.
    pub files: BTreeMap<String, Expected>,
    /// Modes the element may be in; any, when empty.
    pub modes: Vec<Mode>,
}

impl Expectations {
    /// What these lines promise.
    pub fn of(marks: &[Mark]) -> Self {
        let mut expectations = Self::default();
        let mut open = None;
        for mark in marks {
            match mark {
                Mark::Begun(intent) => {
                    expectations.begin(intent);
                    open = Some(intent);
                }
                Mark::Ended(outcome) => {
                    if let Some(intent) = open.take() {
                        expectations.end(intent, outcome);
                    }
                }
            }
        }
        expectations
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
            Intent::Abort { name } => {
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
            // Before the first answer nothing is known of the mode it would come from.
            Intent::Mode(mode) if !self.modes.is_empty() => self.modes.push(*mode),
            Intent::Mode(_) => {}
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(name: &str) -> Mark {
        Mark::Begun(Intent::Create {
            name: name.to_owned(),
            checksum: "c".to_owned(),
        })
    }

    fn file(revision: i64) -> Box<FileMetadata> {
        let document = serde_json::json!({
            "schema_version": "1", "file_id": uuid::Uuid::nil(), "original_filename": "a", "storage_filename": "a",
            "storage_path": "a", "file_size": 1, "content_type": "x/y", "checksum": "c",
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "created_by_id": "u",
            "created_by_username": "u", "revision": revision, "description": format!("d{revision}"),
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn file_without_an_answer_may_be_there_and_one_with_an_answer_must_be_as_promised() {
        let marks = [create("a"), Mark::Ended(Outcome::Done(Some(file(1)))), create("b")];
        let expected = Expectations::of(&marks);
        let (first, second) = (&expected.files["a"], &expected.files["b"]);
        assert_eq!((first.presence, second.presence), (Presence::Must, Presence::May));
        assert!(first.allows(&file(1)) && !first.allows(&file(2)));
        assert!(second.allows(&file(2)));
    }

    #[test]
    fn unanswered_patch_allows_the_old_look_and_the_new() {
        let patch = Mark::Begun(Intent::Patch {
            name: "a".to_owned(),
            description: "d2".to_owned(),
        });
        let marks = [create("a"), Mark::Ended(Outcome::Done(Some(file(1)))), patch];
        let expected = &Expectations::of(&marks).files["a"];
        assert!(expected.allows(&file(1)) && expected.allows(&file(2)) && !expected.allows(&file(3)));
    }

    #[test]
    fn mode_is_the_last_acknowledged_or_the_one_asked_for_since() {
        let asked = |mode| Mark::Begun(Intent::Mode(mode));
        let mut marks = vec![asked(Mode::Ro)];
        assert_eq!(Expectations::of(&marks).modes, []);
        marks.push(Mark::Ended(Outcome::Done(None)));
        marks.push(asked(Mode::Rw));
        assert_eq!(Expectations::of(&marks).modes, [Mode::Ro, Mode::Rw]);
    }

    #[test]
    fn deleted_file_is_never_there_and_an_unanswered_delete_may_have_happened() {
        let delete = Mark::Begun(Intent::Delete { name: "a".to_owned() });
        let mut marks = vec![create("a"), Mark::Ended(Outcome::Done(Some(file(1)))), delete];
        assert_eq!(Expectations::of(&marks).files["a"].presence, Presence::May);
        marks.push(Mark::Ended(Outcome::Done(None)));
        assert_eq!(Expectations::of(&marks).files["a"].presence, Presence::Never);
    }
}
