//! Redis servers of a test's own on loopback: encrypted, behind a password, or three that are a cluster.

use std::fs;
use std::process::{Child, Command, Stdio};

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult, TlsCertificates,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::certificates::Authority;
use super::{Setup, eventually, free_port};

/// Where they listen.
pub(crate) const HOST: &str = "127.0.0.1";

/// How a server, or each of a cluster's, is reached.
#[derive(Clone, Default)]
pub(crate) struct Access {
    pub(crate) password: Option<&'static str>,
    /// The PEM of who signed the certificates; without it nothing is encrypted.
    pub(crate) authority: Option<String>,
}

pub(crate) struct Server {
    child: Option<Child>,
    folder: TempDir,
    arguments: Vec<String>,
    pub(crate) port: u16,
    bus_port: u16,
    access: Access,
}

impl Server {
    /// A server alone; with an authority it is encrypted, its certificate for that name.
    pub(crate) async fn start(password: Option<&'static str>, authority: Option<(&Authority, &str)>) -> Self {
        let mut server = Self::configured(password, authority, false);
        server.run().await;
        server
    }

    fn configured(password: Option<&'static str>, authority: Option<(&Authority, &str)>, member: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, bus_port) = (free_port(), free_port());
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let mut options = vec![
            ("bind", HOST.to_owned()),
            ("save", String::new()),
            ("appendonly", "no".to_owned()),
            ("dir", path("")),
        ];
        options.extend(password.map(|password| ("requirepass", password.to_owned())));
        if let Some((authority, name)) = authority {
            let certificate = authority.certify(&[name]);
            for (name, content) in [
                ("cert.pem", &certificate.certificate),
                ("key.pem", &certificate.key),
                ("ca.pem", &authority.pem()),
            ] {
                fs::write(folder.path().join(name), content).unwrap();
            }
            options.extend([
                ("port", "0".to_owned()),
                ("tls-port", port.to_string()),
                ("tls-cert-file", path("cert.pem")),
                ("tls-key-file", path("key.pem")),
                ("tls-ca-cert-file", path("ca.pem")),
                ("tls-auth-clients", "no".to_owned()),
            ]);
        } else {
            options.push(("port", port.to_string()));
        }
        if member {
            options.extend([
                ("cluster-enabled", "yes".to_owned()),
                ("cluster-port", bus_port.to_string()),
                ("cluster-node-timeout", "2000".to_owned()),
            ]);
            options.extend(authority.map(|_| ("tls-cluster", "yes".to_owned())));
        }
        let arguments = options
            .into_iter()
            .flat_map(|(name, value)| [format!("--{name}"), value]);
        Self {
            child: None,
            arguments: arguments.collect(),
            port,
            bus_port,
            access: Access {
                password,
                authority: authority.map(|(authority, _)| authority.pem()),
            },
            folder,
        }
    }

    /// Starts it, again too, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        // Should this process be killed the server goes with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "redis-server"]).args(&self.arguments);
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log);
        self.child = Some(command.spawn().unwrap());
        let port = self.port;
        eventually("the server listens", async || {
            TcpStream::connect((HOST, port)).await.is_ok()
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Lets it stand still, with its connections open, or go on.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    pub(crate) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let info = self.access.info(self.port);
        let client = match self.access.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        client.get_multiplexed_async_connection().await
    }

    /// What an element needs to use it.
    pub(crate) fn configure(&self, setup: &mut Setup) {
        setup.set("REDIS_HOST", HOST);
        setup.set("REDIS_PORT", &self.port.to_string());
        if let Some(password) = self.access.password {
            let file = setup.file("redis-password", password);
            setup.set("REDIS_PASSWORD_FILE", file.to_str().unwrap());
        }
        if let Some(authority) = &self.access.authority {
            let file = setup.file("redis-ca.pem", authority);
            setup.set("REDIS_TLS", "true");
            setup.set("REDIS_SSL_CA_CERT", file.to_str().unwrap());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Access {
    fn info(&self, port: u16) -> ConnectionInfo {
        let host = HOST.to_owned();
        let address = match &self.authority {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let mut settings = RedisConnectionInfo::default();
        if let Some(password) = self.password {
            settings = settings.set_password(password);
        }
        address.into_connection_info().unwrap().set_redis_settings(settings)
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        self.authority.as_ref().map(|authority| TlsCertificates {
            client_tls: None,
            root_cert: Some(authority.clone().into_bytes()),
        })
    }
}

/// Three servers that share the slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) async fn start(password: Option<&'static str>, authority: Option<(&Authority, &str)>) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let mut node = Server::configured(password, authority, true);
            node.run().await;
            nodes.push(node);
        }
        let cluster = Self { nodes };
        let slots = [(0, 5460), (5461, 10922), (10923, 16383)];
        for (epoch, (node, (low, high))) in (1..).zip(cluster.nodes.iter().zip(slots)) {
            let mut command = redis::pipe();
            command.cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(epoch).ignore();
            command.cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(low).arg(high).ignore();
            command.exec_async(&mut node.connect().await.unwrap()).await.unwrap();
        }
        eventually("the cluster stands", async || cluster.meet().await).await;
        cluster
    }

    /// Whether all know each other; introduces those who do not, again too, since an introduction may be lost on a busy machine.
    async fn meet(&self) -> bool {
        let first = &self.nodes[0];
        let mut all = true;
        for node in &self.nodes {
            let mut connection = node.connect().await.unwrap();
            let mut ask = redis::cmd("CLUSTER");
            let info: String = ask.arg("INFO").query_async(&mut connection).await.unwrap();
            all &= info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3");
            let knows_few = ["cluster_known_nodes:1", "cluster_known_nodes:2"]
                .iter()
                .any(|few| info.contains(few));
            if knows_few && node.port != first.port {
                let mut meet = redis::cmd("CLUSTER");
                meet.arg("MEET").arg(HOST).arg(first.port).arg(first.bus_port);
                meet.exec_async(&mut connection).await.unwrap();
            }
        }
        all
    }

    pub(crate) async fn connect(&self) -> ClusterConnection {
        let access = &self.nodes[0].access;
        let mut builder = ClusterClientBuilder::new([access.info(self.nodes[0].port)]);
        if let Some(certificates) = access.certificates() {
            builder = builder.certs(certificates);
        }
        builder.build().unwrap().get_async_connection().await.unwrap()
    }

    /// Which node keeps a key.
    pub(crate) async fn node_of(&self, key: &str) -> usize {
        let mut connection = self.nodes[0].connect().await.unwrap();
        let slot: usize = redis::cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(key)
            .query_async(&mut connection)
            .await
            .unwrap();
        [5461, 10923].iter().filter(|border| slot >= **border).count()
    }

    pub(crate) fn configure(&self, setup: &mut Setup) {
        self.nodes[0].configure(setup);
        setup.set("REDIS_CLUSTER", "true");
    }
}
