//! Where discovery is.

use std::time::Duration;

use secrecy::SecretString;

use super::args::RedisArgs;
use super::environment::Environment;
use super::value::{Value, secret};
use super::{ConfigError, port};

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// Below the 90 seconds after which Redis forgets an element.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// Where discovery is.
#[derive(Clone, Debug)]
pub(crate) struct RedisConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) password: Option<SecretString>,
    pub(crate) tls: Option<RedisTls>,
    /// Whether host and port are those of one node of a cluster.
    pub(crate) cluster: bool,
    pub(crate) interval: Duration,
}

/// That the connection is encrypted, and who may vouch for the server.
#[derive(Clone, Debug)]
pub(crate) struct RedisTls {
    /// PEM certificates; without them the system's are trusted.
    pub(crate) ca_cert: Option<Vec<u8>>,
}

impl RedisConfig {
    pub(super) fn read(args: RedisArgs, environment: &Environment) -> Result<Option<Self>, ConfigError> {
        let host = Value::new("REDIS_HOST", args.redis_host)?;
        let redis_port = args.redis_port.filter(|_| !environment.is_service_link("REDIS_PORT"));
        let port_value = Value::new("REDIS_PORT", redis_port)?;
        let direct = Value::new("REDIS_PASSWORD", args.redis_password)?;
        let file = Value::new("REDIS_PASSWORD_FILE", args.redis_password_file)?;
        let ca_cert = Value::new("REDIS_SSL_CA_CERT", args.redis_ssl_ca_cert)?;
        let cluster = Value::new("REDIS_CLUSTER", args.redis_cluster)?
            .switch()?
            .unwrap_or(false);
        let tls = Value::new("REDIS_TLS", args.redis_tls)?.switch()?.unwrap_or(false);
        let interval = Value::new("HEALTH_REPORT_INTERVAL", args.health_report_interval)?
            .duration(Duration::from_secs(1), MAX_INTERVAL)?
            .unwrap_or(DEFAULT_INTERVAL);
        let Some(host) = host.text() else {
            let values = [&port_value, &direct, &file, &ca_cert].map(|value| (value.variable, value.is_set()));
            let switches = [("REDIS_CLUSTER", cluster), ("REDIS_TLS", tls)];
            return match values.into_iter().chain(switches).find(|(_, is_set)| *is_set) {
                Some((variable, _)) => Err(ConfigError::Contradiction {
                    variable,
                    other: "REDIS_HOST",
                    why: "it means nothing while REDIS_HOST is not set",
                }),
                None => Ok(None),
            };
        };
        if ca_cert.is_set() && !tls {
            return Err(ConfigError::Contradiction {
                variable: "REDIS_SSL_CA_CERT",
                other: "REDIS_TLS",
                why: "it means nothing while REDIS_TLS is not true",
            });
        }
        let ca_cert = ca_cert.certificates()?;
        Ok(Some(Self {
            host,
            port: port(port_value, 1, DEFAULT_PORT)?,
            password: secret(direct, file)?,
            tls: tls.then_some(RedisTls { ca_cert }),
            cluster,
            interval,
        }))
    }
}
