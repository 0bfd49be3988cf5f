//! Where traces go.

use reqwest::Url;

use super::ConfigError;
use super::args::TraceArgs;
use super::value::Value;

/// Where traces go.
#[derive(Clone, Debug)]
pub(crate) struct TracesConfig {
    /// The address spans are posted to.
    pub(crate) url: Url,
}

impl TracesConfig {
    pub(super) fn read(args: TraceArgs) -> Result<Option<Self>, ConfigError> {
        let endpoint = Value::new("OTEL_EXPORTER_OTLP_ENDPOINT", args.otel_exporter_otlp_endpoint)?;
        Ok(endpoint.read(spans_address)?.map(|url| Self { url }))
    }
}

/// The endpoint is a base; OTLP over HTTP takes spans at `/v1/traces` below it.
fn spans_address(endpoint: &str) -> Result<Url, &'static str> {
    const HELP: &str = "use a URL such as http://collector:4318";
    let mut url: Url = endpoint.parse().map_err(|_| HELP)?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(HELP);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave user and password out of it; OTEL_EXPORTER_OTLP_HEADERS takes them");
    }
    url.path_segments_mut()
        .map_err(|()| HELP)?
        .pop_if_empty()
        .extend(["v1", "traces"]);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::spans_address;

    #[test]
    fn spans_go_below_the_endpoint() {
        for (endpoint, url) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://c/otlp", "https://c/otlp/v1/traces"),
            ("https://c/otlp/", "https://c/otlp/v1/traces"),
        ] {
            assert_eq!(spans_address(endpoint).unwrap().as_str(), url);
        }
    }

    #[test]
    fn bad_endpoints_are_refused() {
        for endpoint in [
            "collector:4318",
            "grpc://c",
            "http://",
            "http://u:p@c",
            "http://c/?a=b",
            "unix:/x",
        ] {
            assert!(spans_address(endpoint).is_err(), "{endpoint}");
        }
    }
}
