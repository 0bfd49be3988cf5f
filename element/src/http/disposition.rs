//! Content-Disposition both ways: the name of a file sent to clients (RFC 6266, RFC 8187), and the names of a form's parts.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What RFC 8187 leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The header that offers a file under its name: a plain one for old clients, the exact one for all others. Of a path only the last
/// name is offered: where a file goes is not for a server to say (RFC 6266, section 4.3).
pub(super) fn attachment(filename: &str) -> String {
    let mut names = filename.rsplit(['/', '\\']);
    let filename = names.find(|name| !matches!(*name, "" | "." | "..")).unwrap_or("file");
    let is_plain = |letter: char| (letter.is_ascii_graphic() || letter == ' ') && !matches!(letter, '"' | '%');
    let fallback: String = filename
        .chars()
        .map(|letter| if is_plain(letter) { letter } else { '_' })
        .collect();
    let exact = utf8_percent_encode(filename, PLAIN);
    format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{exact}")
}

/// The names in the Content-Disposition of a form's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartNames {
    pub(super) name: Option<String>,
    pub(super) filename: Option<String>,
}

impl PartNames {
    /// Reads `form-data; name="file"; filename="a.txt"; filename*=UTF-8''a.txt`; the exact name comes first. It has no place in a
    /// form (RFC 7578, section 4.2), so one of another character set is as good as none. None when it is no such header.
    pub(super) fn read(header: &[u8]) -> Option<Self> {
        let text = str::from_utf8(header).ok()?;
        let (kind, mut rest) = text.split_once(';').unwrap_or((text, ""));
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return None;
        }
        let mut names = Self::default();
        let mut exact = None;
        while !rest.trim().is_empty() {
            let (key, value, after) = parameter(rest)?;
            match key.to_ascii_lowercase().as_str() {
                "name" => names.name = Some(value),
                "filename" => names.filename = Some(value),
                "filename*" if is_utf8(&value) => exact = Some(decode_exact(&value)?),
                _ => {}
            }
            rest = after;
        }
        names.filename = exact.or(names.filename);
        Some(names)
    }
}

/// The first `key=value` of the text and what follows its `;`.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.split_once('=')?;
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, after) = rest.split_once(';').unwrap_or((rest, ""));
        return Some((key.trim(), value.trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let after = quoted.get(at + 1..)?.trim_start();
                let after = after.strip_prefix(';').or_else(|| after.is_empty().then_some(after))?;
                return Some((key.trim(), value, after));
            }
            // Programs escape quotes and backslashes; browsers send a lone backslash as it is.
            '\\' if quoted.get(at + 1..)?.starts_with(['"', '\\']) => {
                value.extend(letters.next().map(|(_, next)| next))
            }
            letter => value.push(letter),
        }
    }
    None
}

/// Whether an exact name is of the one character set that is read; what names none is malformed, not of another.
fn is_utf8(value: &str) -> bool {
    let charset = value.split_once('\'').map(|(charset, _)| charset);
    charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
}

/// `UTF-8'language'percent-encoded`.
fn decode_exact(value: &str) -> Option<String> {
    let (_charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    percent_decode_str(encoded)
        .decode_utf8()
        .ok()
        .map(|name| name.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{PartNames, attachment};

    #[test]
    fn names_are_offered_plain_and_exact() {
        for (name, header) in [
            ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
            (
                "отчёт 1.pdf",
                "attachment; filename=\"_____ 1.pdf\"; filename*=UTF-8''%D0%BE%D1%82%D1%87%D1%91%D1%82%201.pdf",
            ),
            (
                "a\"b c%.txt",
                "attachment; filename=\"a_b c_.txt\"; filename*=UTF-8''a%22b%20c%25.txt",
            ),
            (
                "a\r\nX: y",
                "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y",
            ),
        ] {
            assert_eq!(attachment(name), header);
        }
    }

    #[test]
    fn of_a_path_only_the_last_name_is_offered() {
        for (path, name) in [
            ("/etc/passwd", "passwd"),
            ("../../a.txt", "a.txt"),
            ("C:\\Users\\al\\b.txt", "b.txt"),
            ("a/b\\c", "c"),
            ("folder/", "folder"),
            ("a/..", "a"),
            ("..", "file"),
            ("/", "file"),
            ("", "file"),
        ] {
            let header = format!("attachment; filename=\"{name}\"; filename*=UTF-8''{name}");
            assert_eq!(attachment(path), header, "{path}");
        }
    }

    #[test]
    fn names_of_parts_are_read_as_clients_write_them() {
        for (header, name, filename) in [
            (
                "form-data; name=\"file\"; filename=\"a b.txt\"",
                "file",
                Some("a b.txt"),
            ),
            (
                "form-data; name=\"file\"; filename=\"отчёт.pdf\"",
                "file",
                Some("отчёт.pdf"),
            ),
            (
                "form-data; name=\"file\"; filename*=utf-8''%D0%B0.txt",
                "file",
                Some("а.txt"),
            ),
            (
                "form-data; name=\"file\"; filename=\"_.txt\"; filename*=UTF-8'ru'%D0%B0.txt",
                "file",
                Some("а.txt"),
            ),
            (
                "form-data; filename=\"a;name=b.txt\"; name=file",
                "file",
                Some("a;name=b.txt"),
            ),
            (
                "form-data; name=\"file\"; filename=\"a\\\"b\\\\c\"",
                "file",
                Some("a\"b\\c"),
            ),
            (
                "form-data; name=\"file\"; filename=\"a\\b.txt\"",
                "file",
                Some("a\\b.txt"),
            ),
            (
                "form-data; name=\"file\"; filename=\"a.txt\"; filename*=iso-8859-1'en'%E4.txt",
                "file",
                Some("a.txt"),
            ),
            ("form-data; name=file; filename*=latin1''a", "file", None),
            ("Form-Data;name=tags", "tags", None),
        ] {
            let names = PartNames::read(header.as_bytes()).unwrap();
            assert_eq!(
                (names.name.as_deref(), names.filename.as_deref()),
                (Some(name), filename),
                "{header}"
            );
        }
    }

    #[test]
    fn malformed_dispositions_are_refused() {
        for header in [
            "attachment; name=\"file\"",
            "form-data; name",
            "form-data; name=\"file",
            "form-data; name=\"file\" x",
            "form-data; name=file; filename*=a.txt",
            "form-data; name=file; filename*=UTF-8'a.txt",
            "form-data; name=file; filename*=UTF-8''%FF",
        ] {
            assert_eq!(PartNames::read(header.as_bytes()), None, "{header}");
        }
        assert_eq!(PartNames::read(b"form-data; name=\"\xff\""), None);
    }

    proptest! {
        /// The header is one line of ASCII whatever the name is, and whoever reads it as the standard says gets its last part back.
        #[test]
        fn any_name_survives_the_header(path in "\\PC{0,40}|(?s).{0,40}|[ab./\\\\\"%]{0,8}") {
            let header = attachment(&path);
            let mut parts = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | ".."));
            let name = parts.next_back().unwrap_or("file");
            prop_assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{header:?}");
            let (plain, exact) = header.split_once("; filename*=UTF-8''").unwrap();
            let decoded = percent_encoding::percent_decode_str(exact).decode_utf8().unwrap();
            prop_assert_eq!(decoded, name);
            let fallback = plain.strip_prefix("attachment; filename=\"").unwrap().strip_suffix('"').unwrap();
            prop_assert!(!fallback.contains(['"', '\\', '%', '/']), "{fallback:?}");
            prop_assert_eq!(fallback.chars().count(), name.chars().count());
            let read = PartNames::read(header.replacen("attachment", "form-data", 1).as_bytes()).unwrap();
            prop_assert_eq!(read.filename.as_deref(), Some(name));
        }

        #[test]
        fn quoted_names_of_parts_are_read_back(name in "[^\\p{Cc}]{0,40}") {
            let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("form-data; name=\"file\"; filename=\"{escaped}\"");
            let read = PartNames::read(header.as_bytes()).unwrap();
            prop_assert_eq!((read.name, read.filename), (Some("file".to_owned()), Some(name)));
        }

        #[test]
        fn any_bytes_are_names_or_none(bytes in vec(any::<u8>(), 0..120), words in "[a-z*=;\"\\\\' %8UTF-]{0,80}") {
            let _either = PartNames::read(&bytes);
            let _either = PartNames::read(format!("form-data; {words}").as_bytes());
        }
    }
}
