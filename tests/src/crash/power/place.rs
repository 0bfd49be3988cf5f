//! What stands where in a storage folder.

use std::path::Path;

/// How deep the folders of files lie: year, month, day, hour.
const DEPTH: usize = 4;

/// Whether it is the folder of an hour, which holds files.
pub(super) fn is_hour(path: &Path) -> bool {
    let is_number = |part: &std::ffi::OsStr| part.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let last = path.iter().rev().take(DEPTH);
    last.clone().count() == DEPTH && last.into_iter().all(is_number)
}

/// Whether it is where an upload is before it has a name.
pub(super) fn is_temporary(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(".artstore/tmp"))
}

/// Whether it is content or attributes of a file, in their place or before.
pub(super) fn is_part(path: &Path) -> bool {
    is_temporary(path) || path.parent().is_some_and(is_hour)
}

/// Whether it is the attributes of a file.
pub(super) fn is_attributes(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".attr.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_an_hour_is_told_from_those_around_it() {
        assert!(is_hour(Path::new("storage/2026/11/22/09")));
        assert!(!is_hour(Path::new("storage/2026/11/22")));
        assert!(is_part(Path::new("storage/2026/11/22/09/a")));
        assert!(is_part(Path::new("storage/.artstore/tmp/a")));
        assert!(!is_part(Path::new("storage/.artstore/mode.json")));
    }
}
