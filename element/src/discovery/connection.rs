//! The connection to Redis, alone or a cluster, encrypted or not: made when it is needed, dropped when it fails, and never waited
//! for longer than a report is worth.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
    RedisError, TlsCertificates,
};
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::time::timeout;

use crate::config::RedisConfig;

/// How long Redis may take to take a connection, and to answer one command.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long everything one report needs may take: connecting, learning a cluster's layout, and the commands.
const REPORT_TIME: Duration = Duration::from_secs(5);

/// How often a cluster's client follows a key that has moved before the report is given up.
const RETRIES: u32 = 2;

/// Why something did not reach Redis.
#[derive(Debug, Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("Redis took longer than {} seconds", REPORT_TIME.as_secs())]
    Slow,
}

/// A Redis to report to.
pub(crate) struct Redis {
    server: Server,
    connection: Option<Connection>,
    /// Between two reports.
    pub(super) interval: Duration,
}

enum Server {
    Alone(Box<Client>),
    Cluster(Box<ClusterClient>),
}

enum Connection {
    Alone(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Redis {
    /// A Redis that nobody has connected to yet; fails only for settings that can never work.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let certificates = config.tls.as_ref().map(|tls| TlsCertificates {
            client_tls: None,
            root_cert: tls.ca_cert.clone(),
        });
        let node = node(config)?;
        let server = match (config.cluster, certificates) {
            (false, None) => Server::Alone(Box::new(Client::open(node)?)),
            (false, Some(certificates)) => Server::Alone(Box::new(Client::build_with_tls(node, certificates)?)),
            (true, certificates) => {
                let mut builder = ClusterClientBuilder::new([node])
                    .connection_timeout(PATIENCE)
                    .response_timeout(PATIENCE)
                    .retries(RETRIES);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Server::Cluster(Box::new(builder.build()?))
            }
        };
        Ok(Self {
            server,
            connection: None,
            interval: config.interval,
        })
    }

    /// Sends the pipelines one after the other. After an error some may have arrived.
    pub(crate) async fn send(&mut self, pipelines: &[Pipeline]) -> Result<(), SendError> {
        let sent = timeout(REPORT_TIME, self.connect_and_send(pipelines)).await;
        let result = match sent {
            Ok(result) => result.map_err(SendError::Redis),
            Err(_) => Err(SendError::Slow),
        };
        if result.is_err() {
            // The next one begins anew: the server's name may by then mean another address, its certificate be another.
            self.connection = None;
        }
        result
    }

    async fn connect_and_send(&mut self, pipelines: &[Pipeline]) -> Result<(), RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.server.connect().await?),
        };
        for pipeline in pipelines {
            match connection {
                Connection::Alone(connection) => pipeline.exec_async(connection).await?,
                Connection::Cluster(connection) => pipeline.exec_async(connection).await?,
            }
        }
        Ok(())
    }
}

impl Server {
    async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Alone(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(PATIENCE));
                let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                Ok(Connection::Alone(connection))
            }
            Self::Cluster(client) => Ok(Connection::Cluster(client.get_async_connection().await?)),
        }
    }
}

/// The node the configuration names.
fn node(config: &RedisConfig) -> Result<ConnectionInfo, RedisError> {
    let (host, port) = (config.host.clone(), config.port);
    let address = if config.tls.is_some() {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut settings = RedisConnectionInfo::default();
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose_secret());
    }
    Ok(address.into_connection_info()?.set_redis_settings(settings))
}
