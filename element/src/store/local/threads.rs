//! Threads for writes, apart from those that read: a slow flush must not keep a download waiting.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Flushes share the disk's queue; more threads than this only lengthen it.
const THREADS: usize = 16;

/// The threads that write and flush.
pub(super) struct WriterThreads {
    runtime: Option<Runtime>,
}

impl WriterThreads {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(THREADS)
            .thread_name("artstore-writer")
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Option<JoinHandle<io::Result<T>>> {
        self.runtime.as_ref().map(|runtime| runtime.spawn_blocking(job))
    }

    /// Runs `job` on a writer thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        finished(&mut self.spawn(job)).await
    }
}

/// A job's result; a job that panicked or never ran is an error too.
pub(super) async fn finished<T>(job: &mut Option<JoinHandle<io::Result<T>>>) -> io::Result<T> {
    match job {
        Some(job) => job.await.map_err(io::Error::other)?,
        None => Err(io::Error::other("the writer threads have stopped")),
    }
}

impl Drop for WriterThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it here, maybe on an async thread, would block; running jobs end by themselves.
            runtime.shutdown_background();
        }
    }
}
