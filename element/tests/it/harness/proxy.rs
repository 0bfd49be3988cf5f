//! A wire between an element and a server it needs, to be cut and mended.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// A wire to `host:port`, cut at first when not `whole`.
    pub(crate) async fn to(target: String, whole: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(whole);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, mut whole) = (target.clone(), receiver.clone());
                tokio::spawn(async move {
                    if *whole.borrow_and_update() {
                        tokio::select! {
                            () = pass(near, &target) => {}
                            _ = whole.wait_for(|whole| !whole) => {}
                        }
                    }
                });
            }
        });
        Self {
            address,
            whole: Arc::new(sender),
        }
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn pass(mut near: TcpStream, target: &str) {
    if let Ok(mut far) = TcpStream::connect(target).await {
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
}
