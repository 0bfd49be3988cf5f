//! Verified tokens, kept until they expire, so that a signature is checked once and not on each request. Bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::Caller;

/// Tokens to remember. Past it the expired ones are dropped, and if none is, all.
const CAPACITY: usize = 4096;

/// The sha256 of a token: the tokens themselves do not stay in memory.
type Fingerprint = [u8; 32];

#[derive(Default)]
pub(super) struct VerifiedTokens {
    entries: Mutex<HashMap<Fingerprint, Entry>>,
}

struct Entry {
    caller: Arc<Caller>,
    /// Seconds since 1970 at which the token is no longer good, leeway included.
    until: u64,
    /// Which keys it was verified with. When others come it must be verified again: its key may have been taken back.
    generation: u64,
}

impl VerifiedTokens {
    /// Whoever a token was verified for, while it is good.
    pub(super) fn get(&self, token: &str, generation: u64, now: u64) -> Option<Arc<Caller>> {
        let fingerprint = fingerprint(token);
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(&fingerprint)
            .filter(|entry| now < entry.until && entry.generation == generation)
            .map(|entry| Arc::clone(&entry.caller))
    }

    pub(super) fn insert(&self, token: &str, caller: Arc<Caller>, until: u64, generation: u64, now: u64) {
        let fingerprint = fingerprint(token);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| now < entry.until);
        }
        if entries.len() >= CAPACITY {
            entries.clear();
        }
        let entry = Entry {
            caller,
            until,
            generation,
        };
        entries.insert(fingerprint, entry);
    }
}

fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CAPACITY, VerifiedTokens};
    use crate::auth::{Caller, Rights};

    fn caller() -> Arc<Caller> {
        Arc::new(Caller {
            subject: "s".to_owned(),
            username: "u".to_owned(),
            fullname: None,
            rights: Rights::default(),
        })
    }

    #[test]
    fn token_is_forgotten_when_it_expires() {
        let tokens = VerifiedTokens::default();
        tokens.insert("a", caller(), 100, 0, 50);
        assert!(tokens.get("a", 0, 99).is_some());
        assert!(tokens.get("a", 0, 100).is_none());
        assert!(tokens.get("b", 0, 50).is_none());
    }

    #[test]
    fn token_is_forgotten_when_other_keys_come() {
        let tokens = VerifiedTokens::default();
        tokens.insert("a", caller(), 100, 7, 50);
        assert!(tokens.get("a", 7, 50).is_some());
        assert!(tokens.get("a", 8, 50).is_none());
    }

    #[test]
    fn many_tokens_stay_within_the_bound() {
        let tokens = VerifiedTokens::default();
        for number in 0..CAPACITY * 2 + 10 {
            tokens.insert(&number.to_string(), caller(), 100, 0, 50);
            assert!(tokens.entries.lock().unwrap().len() <= CAPACITY);
        }
        assert!(tokens.get(&(CAPACITY * 2 + 9).to_string(), 0, 50).is_some());
    }
}
