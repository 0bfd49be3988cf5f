//! Capacity: what the element may still take. Bytes are reserved before they are written, so that uploads running side by side
//! cannot fill the volume together. A file counts with its attr file ([`footprint`]), and what lies in quarantine counts too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use element_api::{Capacity, CapacityStatus};

use crate::attr;
use crate::store::{Space, Store};

/// The bytes a file takes: its content and the page of its attr file.
pub const fn footprint(content: u64) -> u64 {
    content.saturating_add(attr::MAX_BYTES as u64)
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the element is full: {free} bytes are free, {wanted} more are wanted")]
pub struct Full {
    /// What is free.
    pub free: u64,
    /// What was asked for.
    pub wanted: u64,
}

/// Counts what files take and what uploads have reserved; clones share the counts.
#[derive(Clone)]
pub struct Accounts {
    store: Arc<dyn Store>,
    max_size: Option<u64>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    used: AtomicU64,
    /// In quarantine: no files any more, but still on disk.
    set_aside: AtomicU64,
    reserved: AtomicU64,
    /// The part of `reserved` that is on disk already, and so missing from the volume's free bytes.
    written: AtomicU64,
    /// When `used` was last counted in the database.
    counted: Mutex<Option<Instant>>,
}

/// Bytes set aside for one upload, given back when dropped.
pub struct Reservation {
    accounts: Accounts,
    bytes: u64,
    written: u64,
}

impl Accounts {
    /// An element without files, which may take `max_size` where that is set.
    pub fn new(store: Arc<dyn Store>, max_size: Option<u64>) -> Self {
        Self {
            store,
            max_size,
            counts: Arc::default(),
        }
    }

    /// How full the element is.
    ///
    /// A volume that cannot be asked counts as having no room: nothing is stored on a volume that does not answer.
    pub fn capacity(&self) -> Capacity {
        let space = self.store.space().unwrap_or(Space { total: 0, available: 0 });
        let used = self
            .counts
            .used
            .load(Ordering::Acquire)
            .saturating_add(self.set_aside());
        let reserved = self.counts.reserved.load(Ordering::Acquire);
        let total = self.max_size.map_or(space.total, |max_size| max_size.min(space.total));
        let used = used.saturating_add(reserved);
        let unwritten = reserved.saturating_sub(self.counts.written.load(Ordering::Acquire));
        let free = total
            .saturating_sub(used)
            .min(space.available.saturating_sub(unwritten));
        Capacity::new(total, used, free)
    }

    /// Sets bytes aside.
    ///
    /// # Errors
    /// [`Full`] when they do not fit, or when the element counts as full.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Full> {
        let mut reservation = Reservation {
            accounts: self.clone(),
            bytes: 0,
            written: 0,
        };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// A file with `content` bytes stands.
    pub fn spend(&self, content: u64) {
        self.counts.used.fetch_add(footprint(content), Ordering::AcqRel);
    }

    /// A file with `content` bytes is gone.
    pub fn release(&self, content: u64) {
        subtract(&self.counts.used, footprint(content));
    }

    /// `bytes` more lie in quarantine.
    pub fn add_aside(&self, bytes: u64) {
        self.counts.set_aside.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes that lie in quarantine.
    pub fn set_aside(&self) -> u64 {
        self.counts.set_aside.load(Ordering::Acquire)
    }

    /// There are `files` files with `content` bytes in all, as the database counts.
    pub fn set_used(&self, files: u64, content: u64) {
        let attributes = files.saturating_mul(footprint(0));
        self.counts
            .used
            .store(content.saturating_add(attributes), Ordering::Release);
        *self.counts.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the database was last asked longer ago than `age`.
    pub fn is_older_than(&self, age: Duration) -> bool {
        let counted = *self.counts.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.is_none_or(|counted| counted.elapsed() >= age)
    }
}

impl Reservation {
    /// Makes the reservation at least `bytes` large.
    ///
    /// # Errors
    /// [`Full`] when the difference does not fit; the reservation stays as it was.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), Full> {
        self.grow(bytes.saturating_sub(self.bytes))
    }

    fn grow(&mut self, more: u64) -> Result<(), Full> {
        // Counted first and looked at afterwards: two uploads that grow at once both see each other's bytes.
        self.accounts.counts.reserved.fetch_add(more, Ordering::AcqRel);
        let capacity = self.accounts.capacity();
        let fits = capacity.status != CapacityStatus::Full;
        if fits || (more == 0 && self.bytes > 0) {
            self.bytes += more;
            return Ok(());
        }
        subtract(&self.accounts.counts.reserved, more);
        Err(Full {
            free: self.accounts.capacity().free_bytes,
            wanted: more,
        })
    }

    /// The upload is a file now, with `content` bytes.
    pub fn spend(self, content: u64) {
        self.accounts.spend(content);
    }

    /// `bytes` of the upload are on disk.
    pub fn wrote(&mut self, bytes: u64) {
        self.accounts
            .counts
            .written
            .fetch_add(bytes.saturating_sub(self.written), Ordering::AcqRel);
        self.written = self.written.max(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        subtract(&self.accounts.counts.reserved, self.bytes);
        subtract(&self.accounts.counts.written, self.written);
    }
}

fn subtract(counter: &AtomicU64, bytes: u64) {
    // The closure never answers None, so this cannot fail.
    let _ = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
        Some(count.saturating_sub(bytes))
    });
}
