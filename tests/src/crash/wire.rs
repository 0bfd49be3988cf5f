//! A wire between an element and a server it needs: it can be cut, fall silent, or break just before or after a commit.

mod exchange;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::exchange::Exchange;

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

/// What becomes of a commit at which the wire breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has done it, and the element does not hear so.
    Unheard,
    /// The server never hears of it, nor of what it would have committed.
    Lost,
}

/// What sqlx sends to see whether a connection it has done with still stands. It belongs to no commit.
const PING: &[u8] = b"S\0\0\0\x04";

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

/// Commits that the server has done, and the one at which a connection breaks.
#[derive(Debug, Default)]
struct Commits(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: usize,
    order: Option<(Fate, usize)>,
    broken: bool,
}

impl Commits {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has done more of them. Answers whether nobody shall hear so.
    fn are_unheard(&self, more: usize) -> bool {
        let mut counts = self.counts();
        counts.done += more;
        let breaks =
            matches!(counts.order, Some((Fate::Unheard, at)) if counts.done >= at) && !counts.broken && more > 0;
        counts.broken |= breaks;
        breaks
    }

    /// Whether what is sent now on a connection that commits is lost: it belongs to the commit that comes next.
    fn is_lost(&self) -> bool {
        let mut counts = self.counts();
        let breaks = matches!(counts.order, Some((Fate::Lost, at)) if counts.done + 1 >= at) && !counts.broken;
        counts.broken |= breaks;
        breaks
    }
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

    /// Commits that the server has done so far.
    pub fn commits(&self) -> usize {
        self.commits.counts().done
    }

    /// From here on, the connection that carries the n-th commit breaks, once.
    pub fn break_at_commit(&self, fate: Fate, number: usize) {
        let mut counts = self.commits.counts();
        counts.order = Some((fate, counts.done + number));
    }

    /// Whether that happened.
    pub fn has_broken(&self) -> bool {
        self.commits.counts().broken
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
    let (mut exchange, mut cut) = (Exchange::default(), state.clone());
    let mut commits_here = false;
    loop {
        tokio::select! {
            read = near.read(&mut asked) => {
                let bytes = asked.get(..read?).unwrap_or_default();
                let may_be_lost = commits_here && bytes != PING;
                if bytes.is_empty() || !passes(&mut state).await? || (may_be_lost && commits.is_lost()) {
                    return Ok(());
                }
                exchange.ask(bytes);
                far.write_all(bytes).await?;
            }
            read = far.read(&mut answered) => {
                let bytes = answered.get(..read?).unwrap_or_default();
                let done = exchange.answer(bytes);
                commits_here |= done > 0;
                if bytes.is_empty() || commits.are_unheard(done) || !passes(&mut state).await? {
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
