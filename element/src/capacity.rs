//! Capacity: what the element may still take. Bytes are reserved before they are written, so that uploads running side by side
//! cannot fill the volume together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use element_api::{Capacity, CapacityStatus};

use crate::store::{Space, Store};

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
    /// An element whose files take `used` bytes, and may take `max_size` where that is set.
    pub fn new(store: Arc<dyn Store>, max_size: Option<u64>, used: u64) -> Self {
        let counts = Counts {
            used: AtomicU64::new(used),
            ..Counts::default()
        };
        Self {
            store,
            max_size,
            counts: Arc::new(counts),
        }
    }

    /// How full the element is.
    ///
    /// A volume that cannot be asked counts as having no room: nothing is stored on a volume that does not answer.
    pub fn capacity(&self) -> Capacity {
        let space = self.store.space().unwrap_or(Space { total: 0, available: 0 });
        let used = self.counts.used.load(Ordering::Acquire);
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

    /// A file of `bytes` stands.
    pub fn spend(&self, bytes: u64) {
        self.counts.used.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A file of `bytes` is gone.
    pub fn release(&self, bytes: u64) {
        subtract(&self.counts.used, bytes);
    }

    /// Files take `bytes` in all, as the database counts.
    pub fn set_used(&self, bytes: u64) {
        self.counts.used.store(bytes, Ordering::Release);
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

    /// The upload is a file now and takes `bytes`.
    pub fn spend(self, bytes: u64) {
        self.accounts.spend(bytes);
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
