//! Looking over the whole environment: a misspelt variable stops the start, since what it was meant to set would otherwise
//! silently keep its default. Variables that Kubernetes sets for the Services of a namespace are let through.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use clap::Command;

use super::ConfigError;

/// Names that begin like this are ours: one we do not know is refused.
const OURS: [&str; 7] = ["DB_", "JWT_", "STORAGE_", "REDIS_", "UPLOAD_", "SERVER_", "APP_MODE"];

/// Other programs use names that begin like this too: refused only when they nearly are one of ours.
const SHARED: [&str; 5] = ["APP_", "ADMIN_", "LOG_", "HEALTH_", "OTEL_"];

/// Variables of the contract this version does not act on. Ignoring one would be worse than stopping.
const LATER: [(&str, &str); 1] = [("DB_SSL_CLIENT_", "client certificates are not used")];

/// How many letters a misspelt name may differ by.
const NEAR: usize = 2;

/// The environment's variables whose names and values are text.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let variables = variables
            .into_iter()
            // A lossy value is enough: the flags' own reader refuses values of ours that are not UTF-8.
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .collect();
        Self { variables }
    }

    /// Refuses unknown and unsupported variables; `program` is where the known ones are declared.
    pub(crate) fn check(&self, program: &Command) -> Result<(), ConfigError> {
        let known = declared(program);
        for name in self.variables.keys().filter(|name| !known.contains(name.as_str())) {
            if self.is_service_link(name) {
                continue;
            }
            if let Some((_, why)) = LATER.iter().find(|(start, _)| name.starts_with(start)) {
                return Err(ConfigError::Unsupported {
                    variable: name.clone(),
                    why,
                });
            }
            let nearest = nearest(name, &known);
            if OURS.iter().any(|start| name.starts_with(start))
                || (SHARED.iter().any(|start| name.starts_with(start)) && nearest.is_some())
            {
                let hint = nearest.map_or_else(
                    || "; unset it, or see serve --help for those there are".to_owned(),
                    |nearest| format!("; did you mean {nearest}?"),
                );
                return Err(ConfigError::Unknown {
                    variable: name.clone(),
                    hint,
                });
            }
        }
        Ok(())
    }

    /// Whether Kubernetes set `name` for a Service of the namespace. For a Service `redis` it sets `REDIS_SERVICE_HOST`,
    /// `REDIS_SERVICE_PORT[_NAME]`, `REDIS_PORT=tcp://…` and `REDIS_PORT_6379_TCP[_PROTO|_PORT|_ADDR]`; the first stands as
    /// proof for the others.
    pub(crate) fn is_service_link(&self, name: &str) -> bool {
        let has_host = |service: &str| self.variables.contains_key(&format!("{service}_SERVICE_HOST"));
        if let Some((service, _)) = name.split_once("_SERVICE_PORT") {
            return has_host(service);
        }
        if name.ends_with("_SERVICE_HOST") {
            return true;
        }
        let is_url = self.variables.get(name).is_some_and(|value| {
            ["tcp://", "udp://", "sctp://"]
                .into_iter()
                .any(|scheme| value.starts_with(scheme))
        });
        if is_url && let Some(service) = name.strip_suffix("_PORT") {
            return has_host(service);
        }
        name.match_indices("_PORT_").any(|(at, _)| {
            let (service, rest) = name.split_at(at);
            has_host(service)
                && rest
                    .trim_start_matches("_PORT_")
                    .starts_with(|first: char| first.is_ascii_digit())
        })
    }
}

/// Every variable some flag of the program reads.
fn declared(program: &Command) -> BTreeSet<String> {
    let own = program
        .get_arguments()
        .filter_map(|argument| argument.get_env())
        .filter_map(|name| name.to_str());
    let mut names: BTreeSet<String> = own.map(str::to_owned).collect();
    for command in program.get_subcommands() {
        names.extend(declared(command));
    }
    names
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate.as_str()))
        .filter(|(distance, _)| *distance <= NEAR)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Environment;
    use crate::cli::Cli;

    fn check(variables: &[(&str, &str)]) -> Result<(), String> {
        Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
            .check(&Cli::command())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn unknown_variable_of_ours_is_refused_by_name() {
        for name in [
            "DB_HOSTNAME",
            "STORAGE_MAX_SZIE",
            "JWT_PUBLIC_KEY",
            "REDIS_URL",
            "UPLOAD_LIMIT",
            "APP_MODES",
            "SERVER_PROT",
        ] {
            let message = check(&[(name, "x")]).unwrap_err();
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn near_miss_is_told_the_right_name() {
        assert!(
            check(&[("STORAGE_MAX_SZIE", "1")])
                .unwrap_err()
                .contains("STORAGE_MAX_SIZE")
        );
        assert!(check(&[("LOG_LEVLE", "info")]).unwrap_err().contains("LOG_LEVEL"));
        assert!(check(&[("APP_MODE_FLIE", "x")]).unwrap_err().contains("APP_MODE_FILE"));
    }

    #[test]
    fn variables_of_others_are_let_through() {
        for name in [
            "PATH",
            "APP_NAME",
            "LOG_DIR",
            "ADMIN_EMAIL",
            "OTEL_RESOURCE_ATTRIBUTES",
            "HOME",
        ] {
            assert_eq!(check(&[(name, "x")]), Ok(()), "{name}");
        }
    }

    #[test]
    fn known_variables_are_let_through() {
        assert_eq!(
            check(&[("DB_HOST", "db"), ("SERVER_PORT", "1"), ("ADMIN_TOKEN_FILE", "/x")]),
            Ok(())
        );
    }

    #[test]
    fn unsupported_variable_is_refused_by_name() {
        for name in ["DB_SSL_CLIENT_CERT", "DB_SSL_CLIENT_KEY"] {
            let message = check(&[(name, "x")]).unwrap_err();
            assert!(message.contains(name) && message.contains("not supported"), "{message}");
        }
    }

    #[test]
    fn service_links_of_kubernetes_are_let_through() {
        assert_eq!(
            check(&[
                ("REDIS_SERVICE_HOST", "10.0.0.1"),
                ("REDIS_SERVICE_PORT", "6379"),
                ("REDIS_PORT", "tcp://10.0.0.1:6379"),
                ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
                ("REDIS_PORT_6379_TCP_ADDR", "10.0.0.1"),
                ("STORAGE_01_SERVICE_HOST", "10.0.0.2"),
                ("STORAGE_01_SERVICE_PORT_HTTP", "8010"),
                ("STORAGE_01_PORT", "tcp://10.0.0.2:8010"),
                ("STORAGE_01_PORT_8010_TCP_PROTO", "tcp"),
            ]),
            Ok(())
        );
    }

    #[test]
    fn lookalike_without_a_service_is_refused() {
        assert!(check(&[("STORAGE_01_PORT", "tcp://10.0.0.2:8010")]).is_err());
        assert!(check(&[("DB_PORT_5432_TCP", "tcp://10.0.0.2:5432")]).is_err());
    }
}
