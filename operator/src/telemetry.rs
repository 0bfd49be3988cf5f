//! Logs.

use std::error::Error;
use std::fmt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::cli::LogFormat;

/// Begins to log to the standard error.
pub fn start(level: &str, format: LogFormat) -> Result<(), ParseError> {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(level)?)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logs.json().init(),
        LogFormat::Text => logs.init(),
    }
    Ok(())
}

/// An error and its sources on one line. (The JSON format would tell the error alone.)
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Chain;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open the door")]
    struct Outer(#[source] io::Error);

    #[test]
    fn chain_tells_the_sources_too() {
        let error = Outer(io::Error::other("it is locked"));
        assert_eq!(Chain(&error).to_string(), "failed to open the door: it is locked");
    }
}
