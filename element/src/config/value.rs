//! Reading one value: text into numbers, sizes, durations, switches and files. Every error names the variable.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;

use super::ConfigError;

/// A variable's name and what was written for it.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) variable: &'static str,
    text: Option<String>,
}

impl Value {
    /// What was written, or nothing. An empty text is an error: it is more often a slip in a template than a wish.
    pub(crate) fn new(variable: &'static str, text: Option<String>) -> Result<Self, ConfigError> {
        match text {
            Some(text) if text.trim().is_empty() => Err(ConfigError::Empty { variable }),
            text => Ok(Self { variable, text }),
        }
    }

    pub(crate) const fn is_set(&self) -> bool {
        self.text.is_some()
    }

    pub(crate) fn text(self) -> Option<String> {
        self.text
    }

    pub(crate) fn or(self, default: &str) -> String {
        self.text.unwrap_or_else(|| default.to_owned())
    }

    pub(crate) fn invalid(variable: &'static str, value: &str, why: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            variable,
            value: without_userinfo(value),
            why: why.into(),
        }
    }

    /// Reads the value with `read`; its error text becomes the reason.
    pub(crate) fn read<T, E: ToString>(
        self,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let variable = self.variable;
        self.text
            .map(|text| read(&text).map_err(|why| Self::invalid(variable, &text, why.to_string())))
            .transpose()
    }

    /// A whole number between `low` and `high`.
    pub(crate) fn number<T>(self, low: T, high: T) -> Result<Option<T>, ConfigError>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        self.read(|text| match text.parse::<T>() {
            Ok(number) if number >= low && number <= high => Ok(number),
            _ => Err(format!("use a whole number from {low} to {high}")),
        })
    }

    pub(crate) fn size(self) -> Result<Option<u64>, ConfigError> {
        self.read(parse_size)
    }

    pub(crate) fn duration(self, low: Duration, high: Duration) -> Result<Option<Duration>, ConfigError> {
        self.read(|text| match parse_duration(text) {
            Ok(duration) if duration >= low && duration <= high => Ok(duration),
            Ok(_) => Err(format!("use a duration from {}s to {}s", low.as_secs(), high.as_secs())),
            Err(why) => Err(why),
        })
    }

    pub(crate) fn switch(self) -> Result<Option<bool>, ConfigError> {
        self.read(|text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("use true or false"),
        })
    }

    /// The path of a file that can be read now, with its content.
    pub(crate) fn file(self) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
        let variable = self.variable;
        let Some(path) = self.text.map(PathBuf::from) else {
            return Ok(None);
        };
        match fs::read(&path) {
            Ok(content) => Ok(Some((path, content))),
            Err(source) => Err(ConfigError::Unreadable { variable, path, source }),
        }
    }

    /// The PEM certificates in a file: at least one, each of use to trust others by.
    pub(crate) fn certificates(self) -> Result<Option<Vec<u8>>, ConfigError> {
        let variable = self.variable;
        let Some((path, content)) = self.file()? else {
            return Ok(None);
        };
        let unusable = |why: String| ConfigError::Unusable {
            variable,
            why: format!("{path:?} {why}"),
        };
        let blocks = pem::parse_many(&content).map_err(|error| unusable(format!("is no PEM file: {error}")))?;
        let mut store = RootCertStore::empty();
        for block in blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE") {
            store
                .add(CertificateDer::from(block.into_contents()))
                .map_err(|error| unusable(format!("holds a certificate that is not usable: {error}")))?;
        }
        if store.is_empty() {
            return Err(unusable("holds no certificate".to_owned()));
        }
        Ok(Some(content))
    }

    /// The secret in a file, without the line end an editor adds.
    pub(crate) fn secret_file(self) -> Result<Option<SecretString>, ConfigError> {
        let variable = self.variable;
        let Some((path, content)) = self.file()? else {
            return Ok(None);
        };
        let text = String::from_utf8(content).map_err(|_| ConfigError::Unusable {
            variable,
            why: format!("{path:?} is not UTF-8 text"),
        })?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(ConfigError::Unusable {
                variable,
                why: format!("{path:?} is empty"),
            });
        }
        Ok(Some(SecretString::from(text)))
    }
}

/// A secret given in one variable or in the file another names, not both.
pub(crate) fn secret(direct: Value, file: Value) -> Result<Option<SecretString>, ConfigError> {
    if direct.is_set() && file.is_set() {
        return Err(ConfigError::Contradiction {
            variable: direct.variable,
            other: file.variable,
            why: "set one of the two",
        });
    }
    match direct.text {
        Some(text) => Ok(Some(SecretString::from(text))),
        None => file.secret_file(),
    }
}

/// The text with `***` for what stands before its last `@`, but for a scheme: in a URL that is a user and a password, which may
/// hold any character when whoever wrote it forgot to encode them.
fn without_userinfo(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = before.split_once("://").map(|(scheme, _)| scheme);
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    match scheme.filter(|scheme| scheme.chars().all(plain)) {
        Some(scheme) => format!("{scheme}://***@{after}"),
        None => format!("***@{after}"),
    }
}

const SIZE_HELP: &str = "use bytes or a whole number with k, M, G, T, Ki, Mi, Gi or Ti, such as 10Gi";

/// Bytes: `1024`, `500M` (powers of 1000), `10Gi` (powers of 1024).
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.strip_suffix('B').unwrap_or(unit) {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(SIZE_HELP.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| SIZE_HELP.to_owned())?;
    match number.checked_mul(factor) {
        Some(0) => Err("use more than 0 bytes".to_owned()),
        Some(bytes) if bytes <= i64::MAX as u64 => Ok(bytes),
        _ => Err("the size is too large".to_owned()),
    }
}

/// `500ms`, `5s`, `2m`, `1h`; a bare number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("use a whole number with ms, s, m or h, such as 5s".to_owned()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| "use a whole number with ms, s, m or h, such as 5s".to_owned())
}

#[cfg(test)]
mod tests;
