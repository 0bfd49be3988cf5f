//! The hand-written parsers, for fuzzing: bytes in, and nothing out but a panic when something does not hold. Not in the program;
//! the targets are in `fuzz/`, and `make fuzz` runs them.

use std::path::PathBuf;

use jiff::Timestamp;
use uuid::Uuid;

pub use crate::auth::fuzz::{claims, key_file, key_set, token};
pub use crate::http::fuzz::{conditions, content_type, cursor, disposition, field, multipart, patch, query, range};

use crate::attr;
use crate::config::value::{parse_duration, parse_size};
use crate::mode::file::ModeFile;
use crate::store::{id_in_name, storage_filename};

/// All of them.
pub const TARGETS: [fn(&[u8]); 17] = [
    attributes,
    claims,
    conditions,
    content_type,
    cursor,
    disposition,
    field,
    key_file,
    key_set,
    mode_file,
    multipart,
    patch,
    quantities,
    query,
    range,
    storage_name,
    token,
];

/// A file's attributes, as today's system or an older one wrote them. What was read is read alike once it is written anew.
pub fn attributes(bytes: &[u8]) {
    const PATH: &str = "2024/05/06/07/report_alice_20240506T070809_0190.pdf";
    let Ok(read) = attr::decode(bytes, PATH) else { return };
    assert_eq!(read.storage_path, PATH);
    if let Ok(written) = attr::encode(&read) {
        assert_eq!(attr::decode(&written, PATH).ok(), Some(read));
    }
}

/// The name a file has on disk: a line with a user name, then the client's name for it.
pub fn storage_name(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (username, original) = text.split_once('\n').unwrap_or(("alice", text));
    let id = Uuid::from_u128(9);
    let name = storage_filename(original, username, Timestamp::UNIX_EPOCH, id);
    assert!(name.len() + attr::SUFFIX.len() <= 255, "{name}");
    assert!(
        !name.contains(['/', '\\', '\0']) && !name.contains(char::is_control),
        "{name}"
    );
    assert_eq!(id_in_name(&name), Some(id), "{name}");
    let _either = id_in_name(text);
}

/// The file that rules the mode.
pub fn mode_file(bytes: &[u8]) {
    let path = scratch();
    if std::fs::write(&path, bytes).is_ok()
        && let Ok(file) = ModeFile::read(&path)
    {
        assert!(file.generation >= 1);
    }
    let _gone = std::fs::remove_file(&path);
}

/// A file of this process's own: the reader takes a path.
fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("artstore-fuzz-mode-{}.json", std::process::id()))
}

/// Sizes and durations of the configuration.
pub fn quantities(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(size) = parse_size(text) {
        assert!(size > 0 && i64::try_from(size).is_ok());
    }
    let _either = parse_duration(text);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    proptest! {
        /// So that a target that fails at once is noticed without fuzzing.
        #[test]
        fn any_bytes_leave_every_target_standing(bytes in vec(any::<u8>(), 0..200), text in "[ -~]{0,80}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                for target in super::TARGETS {
                    target(bytes);
                }
            }
        }
    }
}
