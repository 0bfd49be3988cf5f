//! A wire between an element and a server it needs: it can be cut, fall silent, or break just after a commit was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It carries everything.
    Whole,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections stay and carry nothing.
    Silent,
}

/// What sqlx sends to end a transaction.
const COMMIT: &[u8] = b"COMMIT\0";

/// Bytes carried at once.
const BUFFER: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Wire {
    /// Where it begins.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    commits: Arc<Commits>,
    task: JoinHandle<()>,
}

/// Commits that passed, and the one after which the wire breaks; 0 for none.
#[derive(Debug, Default)]
struct Commits {
    passed: AtomicUsize,
    break_at: AtomicUsize,
}

impl Wire {
    /// A whole wire to `target`, a host and a port.
    pub async fn to(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to lay a wire")?;
        let address = listener.local_addr()?;
        let (state, receiver) = watch::channel(State::Whole);
        let commits = Arc::new(Commits::default());
        let shared = Arc::clone(&commits);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, state, commits) = (target.clone(), receiver.clone(), Arc::clone(&shared));
                // Either side may go away at any time, which ends this connection as it would without a wire.
                tokio::spawn(async move { drop(carry(near, &target, state, &commits).await) });
            }
        });
        Ok(Self {
            address,
            state,
            commits,
            task,
        })
    }

    /// Changes what it does.
    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Commits that passed so far.
    pub fn commits(&self) -> usize {
        self.commits.passed.load(Ordering::SeqCst)
    }

    /// From here on, the connection that carries the n-th commit breaks once the server has done it.
    pub fn break_after_commit(&self, number: usize) {
        self.commits.break_at.store(self.commits() + number, Ordering::SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut near: TcpStream, target: &str, mut state: watch::Receiver<State>, commits: &Commits) -> Result<()> {
    if *state.borrow() == State::Cut {
        return Ok(());
    }
    state.wait_for(|state| *state != State::Silent).await?;
    let mut far = TcpStream::connect(target).await?;
    let (mut asked, mut answered) = (vec![0; BUFFER], vec![0; BUFFER]);
    let (mut breaks, mut cut) = (false, state.clone());
    loop {
        tokio::select! {
            read = near.read(&mut asked) => {
                let bytes = asked.get(..read?).unwrap_or_default();
                if bytes.is_empty() || !passes(&mut state).await? {
                    return Ok(());
                }
                if bytes.windows(COMMIT.len()).any(|part| part == COMMIT) {
                    let number = commits.passed.fetch_add(1, Ordering::SeqCst) + 1;
                    breaks = number == commits.break_at.load(Ordering::SeqCst);
                }
                far.write_all(bytes).await?;
            }
            read = far.read(&mut answered) => {
                let bytes = answered.get(..read?).unwrap_or_default();
                // The server has answered the commit: it is done, and the element shall not hear of it.
                if bytes.is_empty() || breaks || !passes(&mut state).await? {
                    return Ok(());
                }
                near.write_all(bytes).await?;
            }
            () = until_cut(&mut cut) => return Ok(()),
        }
    }
}

/// Waits while the wire is silent; false when it was cut.
async fn passes(state: &mut watch::Receiver<State>) -> Result<bool> {
    Ok(*state.wait_for(|state| *state != State::Silent).await? == State::Whole)
}

async fn until_cut(state: &mut watch::Receiver<State>) {
    // An error says that the wire itself is gone.
    let _cut = state.wait_for(|state| *state == State::Cut).await;
}
