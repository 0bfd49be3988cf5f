//! What is wrong with a file, from what stands at its place and what its row says. Pure.

use std::io;

use element_api::{FileMetadata, FindingKind};
use serde_json::Value;

use super::Rows;
use crate::attr::{self, AttrError};
use crate::files::Chain;
use crate::store::Look;

/// What was seen at a file's place.
pub(super) struct Seen {
    content: Option<u64>,
    attributes: Attributes,
}

enum Attributes {
    Absent,
    Unreadable(String),
    Read(Box<FileMetadata>),
}

/// Something that seems wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) kind: FindingKind,
    pub(super) detail: String,
}

impl Seen {
    pub(super) fn of(look: io::Result<Look>, path: &str) -> Self {
        let Look { content, attributes } = match look {
            Ok(look) => look,
            // A path that leads out of the store: nothing of ours stands there.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Self {
                    content: None,
                    attributes: Attributes::Absent,
                };
            }
            Err(error) => {
                return Self {
                    content: None,
                    attributes: Attributes::Unreadable(error.to_string()),
                };
            }
        };
        let unreadable = |error: AttrError| Attributes::Unreadable(Chain(&error).to_string());
        let attributes = attributes.map_or(Attributes::Absent, |bytes| {
            attr::decode(&bytes, path).map_or_else(unreadable, |metadata| Attributes::Read(Box::new(metadata)))
        });
        Self { content, attributes }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.content.is_none() && matches!(self.attributes, Attributes::Absent)
    }

    pub(super) fn metadata(&self) -> Option<&FileMetadata> {
        match &self.attributes {
            Attributes::Read(metadata) => Some(metadata),
            Attributes::Absent | Attributes::Unreadable(_) => None,
        }
    }
}

/// Everything that is wrong with the file at `path`, whose id has this `row`.
pub(super) fn judge(seen: &Seen, path: &str, row: Option<&FileMetadata>, rows: Rows) -> Vec<Doubt> {
    let doubt = |kind, detail: String| Doubt { kind, detail };
    let metadata = match (&seen.attributes, seen.content) {
        (Attributes::Read(metadata), Some(size)) if size == metadata.file_size => metadata,
        (Attributes::Read(metadata), Some(size)) => {
            let said = metadata.file_size;
            let mut doubts = vec![doubt(
                FindingKind::SizeMismatch,
                format!("{size} bytes instead of {said}"),
            )];
            doubts.extend(judge_row(metadata, row, rows));
            return doubts;
        }
        (Attributes::Read(_), None) => {
            return vec![doubt(
                FindingKind::ContentMissing,
                "its attr file stands alone".to_owned(),
            )];
        }
        (Attributes::Unreadable(why), _) => return vec![doubt(FindingKind::AttributesUnreadable, why.clone())],
        (Attributes::Absent, Some(size)) => {
            let kept = row.filter(|row| row.storage_path == path);
            let detail = match kept {
                Some(_) => format!("{size} bytes without an attr file; the row that is left describes them"),
                None => format!("{size} bytes without an attr file"),
            };
            return vec![doubt(FindingKind::AttributesMissing, detail)];
        }
        (Attributes::Absent, None) => {
            let orphan = row.filter(|row| row.storage_path == path && rows != Rows::Ignore);
            let detail = || "neither content nor attr file stands".to_owned();
            return orphan
                .map(|_| doubt(FindingKind::RowOrphaned, detail()))
                .into_iter()
                .collect();
        }
    };
    judge_row(metadata, row, rows).into_iter().collect()
}

fn judge_row(metadata: &FileMetadata, row: Option<&FileMetadata>, rows: Rows) -> Option<Doubt> {
    if rows == Rows::Ignore {
        return None;
    }
    let Some(row) = row else {
        return Some(Doubt {
            kind: FindingKind::RowMissing,
            detail: "the database does not know it".to_owned(),
        });
    };
    (row != metadata).then(|| Doubt {
        kind: FindingKind::RowStale,
        detail: format!("the row differs in {}", differences(metadata, row).join(", ")),
    })
}

/// The names of the fields that differ.
fn differences(one: &FileMetadata, other: &FileMetadata) -> Vec<String> {
    let (Ok(Value::Object(one)), Ok(Value::Object(other))) = (serde_json::to_value(one), serde_json::to_value(other))
    else {
        return Vec::new();
    };
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}

#[cfg(test)]
mod tests {
    use std::io;

    use element_api::FindingKind;

    use super::{Rows, Seen, judge};
    use crate::attr;
    use crate::index::tests::file;
    use crate::store::Look;

    fn kinds(content: Option<u64>, attributes: Option<Vec<u8>>, row: Option<u32>, rows: Rows) -> Vec<FindingKind> {
        let path = file(1).storage_path;
        let row = row.map(|revision| {
            let mut row = file(1);
            row.revision = revision.into();
            row
        });
        let seen = Seen::of(Ok(Look { content, attributes }), &path);
        judge(&seen, &path, row.as_ref(), rows)
            .into_iter()
            .map(|doubt| doubt.kind)
            .collect()
    }

    #[test]
    fn every_state_has_its_finding() {
        use FindingKind::{
            AttributesMissing, AttributesUnreadable, ContentMissing, RowMissing, RowOrphaned, RowStale, SizeMismatch,
        };
        let attributes = || Some(attr::encode(&file(1)).unwrap());
        let size = Some(file(1).file_size);
        let check = Rows::Check;
        for (content, attributes, row, rows, expected) in [
            (size, attributes(), Some(1), check, vec![]),
            (size, attributes(), Some(2), check, vec![RowStale]),
            (size, attributes(), None, check, vec![RowMissing]),
            (size, attributes(), None, Rows::Ignore, vec![]),
            (Some(3), attributes(), Some(1), check, vec![SizeMismatch]),
            (Some(3), attributes(), None, check, vec![SizeMismatch, RowMissing]),
            (None, attributes(), Some(1), check, vec![ContentMissing]),
            (None, attributes(), None, check, vec![ContentMissing]),
            (size, None, Some(1), check, vec![AttributesMissing]),
            (size, None, None, check, vec![AttributesMissing]),
            (size, Some(b"{".to_vec()), Some(1), check, vec![AttributesUnreadable]),
            (None, None, Some(1), check, vec![RowOrphaned]),
            (None, None, Some(1), Rows::Ignore, vec![]),
            (None, None, None, check, vec![]),
        ] {
            assert_eq!(
                kinds(content, attributes.clone(), row, rows),
                expected,
                "{content:?} {attributes:?} {row:?}"
            );
        }
    }

    #[test]
    fn stale_row_is_told_by_its_fields() {
        let seen = Seen::of(
            Ok(Look {
                content: Some(1000),
                attributes: Some(attr::encode(&file(1)).unwrap()),
            }),
            &file(1).storage_path,
        );
        let mut row = file(1);
        (row.revision, row.checksum) = (9, "x".into());
        let doubts = judge(&seen, &row.storage_path, Some(&row), Rows::Check);
        assert_eq!(doubts[0].detail, "the row differs in checksum, revision");
    }

    #[test]
    fn disk_that_does_not_answer_is_no_missing_file() {
        let seen = Seen::of(Err(io::Error::other("bad sector")), "a");
        let doubts = judge(&seen, "a", None, Rows::Check);
        assert_eq!(doubts[0].kind, FindingKind::AttributesUnreadable);
        assert!(!seen.is_nothing());
    }
}
