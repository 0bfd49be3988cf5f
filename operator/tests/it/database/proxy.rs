//! A door to PostgreSQL that shuts at the n-th thing a client asks: before the server hears it, or after it has done it.
//!
//! What a client asks is counted over all connections: each start of a session, each simple query, each sync. The client
//! sees what it would see when it is killed there and started again: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use artstore_operator::database::AdminAccess;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the n-th request is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The server never hears of it.
    Before,
    /// The server has done it; the client never hears so.
    After,
}

/// See the module.
pub(crate) struct Proxy {
    /// Access through this door.
    pub(crate) access: AdminAccess,
    asked: Arc<AtomicUsize>,
    at: usize,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Door {
    server: (String, u16),
    cut: Cut,
    at: usize,
    asked: Arc<AtomicUsize>,
}

impl Proxy {
    /// Opens a door that shuts at request `at`, counted from 1.
    pub(crate) async fn open(admin: &AdminAccess, cut: Cut, at: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::serve(listener, admin, cut, at)
    }

    /// Opens a door that never shuts, where the listener is.
    pub(crate) fn open_for_good(listener: TcpListener, admin: &AdminAccess) -> Self {
        Self::serve(listener, admin, Cut::Before, usize::MAX)
    }

    fn serve(listener: TcpListener, admin: &AdminAccess, cut: Cut, at: usize) -> Self {
        let port = listener.local_addr().expect("bound").port();
        let access = AdminAccess {
            host: "127.0.0.1".to_owned(),
            port,
            ..admin.clone()
        };
        let asked = Arc::new(AtomicUsize::new(0));
        let door = Door {
            server: (admin.host.clone(), admin.port),
            cut,
            at,
            asked: Arc::clone(&asked),
        };
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let door = door.clone();
                // An error is a side that went away, which ends this connection as it would without the door.
                tokio::spawn(async move { drop(door.carry(client).await) });
            }
        });
        Self {
            access,
            asked,
            at,
            task,
        }
    }

    /// Whether the door has shut.
    pub(crate) fn has_cut(&self) -> bool {
        self.asked.load(Ordering::SeqCst) >= self.at
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    async fn carry(self, mut client: TcpStream) -> std::io::Result<()> {
        let mut server = TcpStream::connect(&self.server).await?;
        let (mut pending, mut started) = (Vec::new(), false);
        let mut answer = vec![0; 64 * 1024];
        loop {
            tokio::select! {
                read = client.read_buf(&mut pending) => if read? == 0 { return Ok(()) },
                read = server.read(&mut answer) => {
                    let length = read?;
                    if length == 0 {
                        return Ok(());
                    }
                    client.write_all(&answer[..length]).await?;
                }
            }
            while let Some(length) = message_length(&pending, started) {
                let message: Vec<u8> = pending.drain(..length).collect();
                let is_request = !started || matches!(message[0], b'Q' | b'S');
                let is_start = !std::mem::replace(&mut started, true);
                if is_request && self.asked.fetch_add(1, Ordering::SeqCst) + 1 >= self.at {
                    return self.shut(&mut server, &message, is_start).await;
                }
                server.write_all(&message).await?;
            }
        }
    }

    async fn shut(&self, server: &mut TcpStream, message: &[u8], is_start: bool) -> std::io::Result<()> {
        let is_the_one = self.asked.load(Ordering::SeqCst) == self.at;
        if matches!(self.cut, Cut::Before) || !is_the_one {
            return Ok(());
        }
        server.write_all(message).await?;
        // A start is answered by a question, and nothing was done yet. Otherwise wait until the server is ready again.
        let mut done = is_start;
        while !done {
            done = server.read_u8().await? == b'Z';
            let length = server.read_u32().await? as usize;
            let mut body = vec![0; length - 4];
            server.read_exact(&mut body).await?;
        }
        Ok(())
    }
}

/// The length of the first whole message; the start of a session has no kind byte.
fn message_length(bytes: &[u8], started: bool) -> Option<usize> {
    let head = usize::from(started);
    let length = bytes.get(head..head + 4)?;
    let whole = head + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    (bytes.len() >= whole).then_some(whole)
}
