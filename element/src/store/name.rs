//! Names on disk: what a client's file name becomes, so that it is unique, legible and fits every file system.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use crate::attr;

/// The longest name most file systems take, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// An extension longer than this is no extension.
const MAX_EXTENSION_BYTES: usize = 32;

/// More of a user name would leave too little for the file's own.
const MAX_USERNAME_BYTES: usize = 64;

/// `YYYY/MM/DD/HH` of a time, UTC.
pub fn storage_folder(created_at: Timestamp) -> String {
    created_at.to_zoned(TimeZone::UTC).strftime("%Y/%m/%d/%H").to_string()
}

/// `{stem}_{username}_{YYYYMMDDTHHMMSS}_{file_id}{ext}`, at most 255 bytes with `.attr.json` behind it.
pub fn storage_filename(original: &str, username: &str, created_at: Timestamp, file_id: Uuid) -> String {
    let original = clean(original);
    let (stem, extension) = split_extension(&original);
    let username = clean(username);
    let username = cut(&username, MAX_USERNAME_BYTES);
    let time = created_at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S").to_string();
    let tail = format!("_{username}_{time}_{file_id}{extension}");
    let room = MAX_NAME_BYTES.saturating_sub(attr::SUFFIX.len() + tail.len());
    format!("{}{tail}", cut(stem, room))
}

/// The name with `_` for everything that some file system, shell or reader takes for something else.
fn clean(name: &str) -> String {
    name.chars()
        .map(|character| if is_unsafe(character) { '_' } else { character })
        .collect()
}

/// Separators and wildcards, control characters, and those that change the direction of text (Unicode TR 36, section 2.5).
fn is_unsafe(character: char) -> bool {
    matches!(character, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
        || character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_EXTENSION_BYTES => name.split_at(at),
        _ => (name, ""),
    }
}

/// The longest beginning of `text` that takes at most `bytes` and ends between characters.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// The id that a name of ours ends with, but for an extension.
pub fn id_in_name(path: &str) -> Option<Uuid> {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    [path, stem]
        .iter()
        .find_map(|name| Uuid::try_parse(name.rsplit_once('_')?.1).ok())
}

/// Whether the id stands where it belongs: last, but for an extension. A client's own words come before it.
pub(super) fn is_named_by(path: &str, id: &str) -> bool {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    [path, stem]
        .iter()
        .any(|name| name.strip_suffix(id).is_some_and(|rest| rest.ends_with('_')))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{storage_filename, storage_folder};
    use crate::attr;

    const ID: Uuid = Uuid::from_u128(9);

    fn time() -> Timestamp {
        "2026-11-22T09:08:07.5Z".parse().unwrap()
    }

    #[test]
    fn name_and_folder_follow_the_contract() {
        assert_eq!(storage_folder(time()), "2026/11/22/09");
        assert_eq!(
            storage_filename("report.final.pdf", "alice", time(), ID),
            "report.final_alice_20261122T090807_00000000-0000-0000-0000-000000000009.pdf"
        );
    }

    #[test]
    fn unsafe_characters_become_underscores_and_unicode_is_kept() {
        let name = storage_filename("../Отчёт <2>\u{202e}fdp.a\nb", "a/b", time(), ID);
        assert!(name.starts_with(".._Отчёт _2__fdp_a_b_"), "{name}");
        assert!(name.ends_with(".a_b"), "{name}");
    }

    #[test]
    fn long_name_is_cut_by_bytes_between_characters() {
        let name = storage_filename(&format!("{}.pdf", "я".repeat(300)), "alice", time(), ID);
        assert!(name.len() + attr::SUFFIX.len() <= 255, "{}", name.len());
        assert!(name.len() + attr::SUFFIX.len() >= 254, "{}", name.len());
        assert!(name.ends_with(".pdf"));
    }

    proptest! {
        #[test]
        fn any_name_fits_and_stays_in_its_folder(original in any::<String>(), username in any::<String>()) {
            let name = storage_filename(&original, &username, time(), ID);
            prop_assert!(name.len() + attr::SUFFIX.len() <= 255);
            prop_assert!(!name.contains('/') && !name.contains('\0'));
            prop_assert!(name.contains(&ID.to_string()));
        }
    }
}
