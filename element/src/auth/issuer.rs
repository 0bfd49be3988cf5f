//! The issuer's keys: fetched from where it publishes them, again now and then and when a token names a key nobody knows. Fetches
//! never overlap and never follow each other closely. The last set that came stays while the issuer is away or publishes no key of
//! use; while none ever came there is no key, so nothing is let in.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use thiserror::Error;
use tokio::time::Instant;

use super::jwks::{KeySet, SetError};
use crate::trust::trusting;

/// The largest document read. Sets take a few kilobytes.
const MAX_DOCUMENT: usize = 256 * 1024;

/// How long a fetch may take, from the first packet to the last.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the issuer is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between the starts of two fetches, whatever tokens say.
    pub(super) least: Duration,
    /// After a fetch that went well.
    pub(super) usual: Duration,
}

const PACE: Pace = Pace {
    least: Duration::from_secs(10),
    usual: Duration::from_secs(300),
};

/// Why the keys did not come.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error("failed to set up a client")]
    Client(#[source] reqwest::Error),
    #[error("failed to ask the issuer")]
    Ask(#[source] reqwest::Error),
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    #[error("the answer is larger than the {MAX_DOCUMENT} bytes allowed")]
    TooLarge,
    #[error(transparent)]
    Set(#[from] SetError),
}

/// What is known of the issuer's keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Counts the sets that came and were not what the one before was.
    pub(super) generation: u64,
    /// The last set that came.
    pub(super) set: Option<Arc<KeySet>>,
    /// Whether the last fetch failed.
    pub(super) failing: bool,
}

type Flight = Shared<BoxFuture<'static, ()>>;

#[derive(Default)]
struct Flights {
    started: Option<Instant>,
    last: Option<Flight>,
}

/// An issuer; clones share it.
#[derive(Clone)]
pub(crate) struct Issuer {
    inner: Arc<Inner>,
}

struct Inner {
    http: Client,
    url: Url,
    pace: Pace,
    known: RwLock<Arc<Known>>,
    flights: Mutex<Flights>,
}

impl Issuer {
    /// An issuer whose keys are at `url`. With `trusted` only those certificates may have signed its own, else the system's.
    pub(crate) fn new(url: Url, trusted: Option<Vec<Certificate>>) -> Result<Self, FetchError> {
        Self::paced(url, trusted, PACE)
    }

    pub(super) fn paced(url: Url, trusted: Option<Vec<Certificate>>, pace: Pace) -> Result<Self, FetchError> {
        // A redirect could lead away from the address, or the encryption, that was asked for.
        let builder = Client::builder().no_proxy().redirect(Policy::none()).timeout(PATIENCE);
        let inner = Inner {
            http: trusting(builder, url.as_str(), trusted)
                .build()
                .map_err(FetchError::Client)?,
            url,
            pace,
            known: RwLock::default(),
            flights: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.inner.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What keeps tokens from being checked, if anything.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        match &self.known().set {
            None => Some("the issuer's keys were never fetched"),
            Some(_) => None,
        }
    }

    /// Fetches for ever. A first set that does not come is asked for as often as allowed.
    pub(super) async fn follow(&self) {
        loop {
            self.refresh().await;
            let pace = self.inner.pace;
            let pause = if self.known().failing { pace.least } else { pace.usual };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns when the fetch under way has ended; begins one if none is and the last began long enough ago.
    pub(super) async fn refresh(&self) {
        let flight = {
            let mut flights = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = flights.last.as_ref().filter(|flight| flight.peek().is_none());
            let too_early = flights
                .started
                .is_some_and(|started| started.elapsed() < self.inner.pace.least);
            match under_way {
                Some(flight) => flight.clone(),
                None if too_early => return,
                None => {
                    flights.started = Some(Instant::now());
                    flights.last.insert(self.take_off()).clone()
                }
            }
        };
        flight.await;
    }

    /// On a task of its own: whoever asked for the fetch may go away before it ends, and others wait for it too.
    fn take_off(&self) -> Flight {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.fetch().await });
        async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "fetching the issuer's keys broke off");
            }
        }
        .boxed()
        .shared()
    }
}

impl Inner {
    async fn fetch(&self) {
        let fetched = self.download().await;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let had = known.set.is_some();
        match fetched {
            Ok(set) => {
                if known.failing || !had {
                    tracing::info!(keys = set.len(), "the issuer's keys are there");
                }
                // Another generation has every token verified again.
                let (generation, set) = match &known.set {
                    Some(last) if last.equals(&set) => (known.generation, Arc::clone(last)),
                    _ => (known.generation + 1, Arc::new(set)),
                };
                *known = Arc::new(Known {
                    generation,
                    set: Some(set),
                    failing: false,
                });
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                if !known.failing {
                    let meanwhile = if had {
                        "the last ones stay"
                    } else {
                        "every token is refused"
                    };
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "failed to fetch the issuer's keys; {meanwhile}"
                    );
                }
                *known = Arc::new(Known {
                    failing: true,
                    ..known.as_ref().clone()
                });
            }
        }
    }

    async fn download(&self) -> Result<KeySet, FetchError> {
        let request = self
            .http
            .get(self.url.clone())
            .header(ACCEPT, "application/jwk-set+json, application/json");
        // The address may tell more than a log should hold.
        let ask = |error: reqwest::Error| FetchError::Ask(error.without_url());
        let mut response = request.send().await.map_err(ask)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(ask)? {
            if document.len() + chunk.len() > MAX_DOCUMENT {
                return Err(FetchError::TooLarge);
            }
            document.extend_from_slice(&chunk);
        }
        Ok(KeySet::read(&document)?)
    }
}

#[cfg(test)]
mod tests;
