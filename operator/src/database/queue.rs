//! How many claims are worked on at one server at a time. Must not know what the work is.
//!
//! After a restart every element asks at once; a server has few sessions to give. Each server has a queue of its own, so that
//! a dead one holds up nobody else's elements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AdminAccess;

/// Claims at a time; each has up to three sessions open.
const AT_ONCE: usize = 4;

/// Host and port.
type Server = (String, u16);

/// The queues of all servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues(Arc<Mutex<HashMap<Server, Arc<Semaphore>>>>);

impl Queues {
    /// Waits for a turn at the server; it lasts as long as the permit is held.
    pub(super) async fn turn(&self, access: &AdminAccess) -> OwnedSemaphorePermit {
        // INVARIANT: nobody closes these semaphores.
        #[allow(clippy::expect_used)]
        self.of(access).acquire_owned().await.expect("an open semaphore")
    }

    fn of(&self, access: &AdminAccess) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let server = (access.host.clone(), access.port);
        Arc::clone(all.entry(server).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use futures::{FutureExt, poll};
    use secrecy::SecretString;
    use tokio::net::TcpListener;

    use super::super::{Claim, DatabaseError, DatabaseServer, Owner, PostgresServer, SslMode};
    use super::*;

    fn server(port: u16) -> AdminAccess {
        AdminAccess {
            host: "127.0.0.1".to_owned(),
            port,
            username: "admin".to_owned(),
            password: SecretString::from("secret"),
            ssl_mode: SslMode::Disable,
            ca_certificate: None,
        }
    }

    fn claim() -> Claim {
        Claim {
            database: "one".to_owned(),
            role: "one".to_owned(),
            table_prefix: "one_".to_owned(),
            password: SecretString::from("secret"),
            owner: Owner {
                uid: "uid".to_owned(),
                namespace: "a".to_owned(),
                name: "one".to_owned(),
            },
            adopt: false,
        }
    }

    async fn fill(queues: &Queues, access: &AdminAccess) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::new();
        for _ in 0..AT_ONCE {
            permits.push(queues.turn(access).await);
        }
        permits
    }

    #[tokio::test]
    async fn full_server_queues_its_own_elements_alone() {
        let (queues, dead, other) = (Queues::default(), server(1), server(2));
        let mut permits = fill(&queues, &dead).await;
        assert!(queues.clone().turn(&dead).now_or_never().is_none());
        assert!(queues.turn(&other).now_or_never().is_some());
        permits.pop();
        assert!(queues.turn(&dead).now_or_never().is_some());
    }

    /// A connection to this machine is made as soon as it is asked for: none is there unless the work has begun.
    #[tokio::test]
    async fn ensure_and_release_open_no_session_before_their_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let access = server(listener.local_addr().expect("bound").port());
        let (postgres, claim) = (PostgresServer::default(), claim());
        let work: [BoxFuture<'_, Result<(), DatabaseError>>; 2] = [
            postgres.ensure(&access, &claim).map(|ended| ended.map(drop)).boxed(),
            postgres.release(&access, &claim).map(|ended| ended.map(drop)).boxed(),
        ];
        for mut work in work {
            let permits = fill(&postgres.queues, &access).await;
            assert!(poll!(&mut work).is_pending());
            assert!(listener.accept().now_or_never().is_none());
            drop(permits);
            tokio::select! {
                ended = &mut work => panic!("ended without a server: {ended:?}"),
                accepted = listener.accept() => drop(accepted.expect("a connection")),
            }
        }
    }
}
