//! A wire between an element and a server it needs, to be cut, silenced and mended.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Connections are closed.
    Cut,
    /// Connections stand and carry nothing; they are closed when this ends.
    Silent,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

impl Proxy {
    /// A wire to `host:port`, cut at first when not `whole`.
    pub(crate) async fn to(target: String, whole: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(if whole { State::Whole } else { State::Cut });
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, mut state) = (target.clone(), receiver.clone());
                tokio::spawn(async move {
                    if *state.borrow() == State::Whole {
                        tokio::select! {
                            () = pass(&mut near, &target) => return,
                            _ = state.wait_for(|state| *state != State::Whole) => {}
                        }
                    }
                    let _ = state.wait_for(|state| *state != State::Silent).await;
                    drop(near);
                });
            }
        });
        Self {
            address,
            state: Arc::new(sender),
        }
    }

    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub(crate) fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn pass(near: &mut TcpStream, target: &str) {
    if let Ok(mut far) = TcpStream::connect(target).await {
        let _ = copy_bidirectional(near, &mut far).await;
    }
}
