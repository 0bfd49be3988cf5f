//! A fence before the commit points of a store that several servers share: whoever lost its lease must not change it any more.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::StoreAway;

/// Open while this server's lease is known to run; clones share it.
#[derive(Clone)]
pub struct Fence {
    until: Option<Arc<Mutex<Instant>>>,
}

impl Fence {
    /// The fence of a store that no other server uses.
    pub const fn none() -> Self {
        Self { until: None }
    }

    /// A fence that is shut until it is opened.
    pub fn shut() -> Self {
        Self {
            until: Some(Arc::new(Mutex::new(Instant::now()))),
        }
    }

    /// Opens it, or keeps it open, until `time`.
    pub fn open_until(&self, time: Instant) {
        if let Some(until) = &self.until {
            *until.lock().unwrap_or_else(PoisonError::into_inner) = time;
        }
    }

    /// # Errors
    /// [`StoreAway`] while it is shut.
    pub fn check(&self) -> io::Result<()> {
        let is_open = self
            .until
            .as_ref()
            .is_none_or(|until| Instant::now() < *until.lock().unwrap_or_else(PoisonError::into_inner));
        if is_open {
            Ok(())
        } else {
            Err(StoreAway::because("this server's lease could not be renewed in time"))
        }
    }
}
