//! Whether the server lives. Work that takes its time is let finish while it does; once it is silent, everything is refused at once.
//!
//! Clients are to hear within a second that the database is away, and no statement is to fail for being slow. So work that is not
//! done soon makes us ask the server, over a connection of its own; only when that is not answered either is the work given up.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use super::SILENCE;

/// Work that takes longer raises the question, and so again and again.
const SOON: Duration = Duration::from_millis(500);

/// How long a living server takes to let somebody in: so long that a client hears within a second, or as long as work may take when
/// nobody waits for an answer.
const KNOCK: Duration = Duration::from_millis(350);
const PATIENT_KNOCK: Duration = SILENCE;

/// A server found silent is left alone for so long. An operation of several steps does not wait at each.
const REST: Duration = Duration::from_secs(1);

/// A server that answered within this time is taken to live by those who only look.
const LATELY: Duration = Duration::from_millis(250);

/// PostgreSQL's code for "no more connections": an answer, and so a sign of life.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// What is known of the server.
pub(super) struct Pulse {
    options: PgConnectOptions,
    silent_since: Mutex<Option<Instant>>,
    answered: Mutex<Option<Instant>>,
    patient: AtomicBool,
    /// When it was last asked, and whether it lived. Held while it is asked, so that one asks for all.
    asked: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

/// The wait of one piece of work.
pub(super) struct Patience<'a> {
    pulse: &'a Pulse,
    began: Instant,
}

impl Pulse {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            silent_since: Mutex::default(),
            answered: Mutex::default(),
            patient: AtomicBool::new(false),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// Begins a piece of work.
    ///
    /// # Errors
    /// At once, when the server was found silent just now.
    pub(super) fn patience(&self) -> Result<Patience<'_>, sqlx::Error> {
        let silent = *self.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.is_some_and(|since| since.elapsed() < REST) {
            return Err(given_up());
        }
        Ok(Patience {
            pulse: self,
            began: Instant::now(),
        })
    }

    /// From now on a server that is slow to let somebody in is waited for.
    pub(super) fn be_patient(&self) {
        self.patient.store(true, Ordering::Relaxed);
    }

    /// A piece of work was answered.
    pub(super) fn felt(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether one was just now.
    pub(super) fn was_felt_lately(&self) -> bool {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.is_some_and(|when| when.elapsed() < LATELY)
    }

    async fn lives(&self) -> bool {
        let mut asked = self.asked.lock().await;
        if let Some((when, lived)) = *asked
            && when.elapsed() < SOON
        {
            return lived;
        }
        let patient = self.patient.load(Ordering::Relaxed);
        let knock = if patient { PATIENT_KNOCK } else { KNOCK };
        let lives = match timeout(knock, PgConnection::connect_with(&self.options)).await {
            Ok(Ok(connection)) => {
                tokio::spawn(connection.close());
                true
            }
            Ok(Err(sqlx::Error::Database(error))) => error.code().as_deref() == Some(TOO_MANY_CONNECTIONS),
            Ok(Err(_)) | Err(_) => false,
        };
        *asked = Some((Instant::now(), lives));
        lives
    }
}

impl Patience<'_> {
    /// Waits for `work` as long as the server lives.
    ///
    /// # Errors
    /// When the server is silent, or the work takes longer than anything should.
    pub(super) async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, sqlx::Error> {
        let mut work = pin!(work);
        let mut patience = SOON.saturating_sub(self.began.elapsed());
        while self.began.elapsed() < SILENCE {
            if let Ok(done) = timeout(patience, &mut work).await {
                return Ok(done);
            }
            // The work goes on meanwhile: an answer that comes late is an answer.
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                lives = self.pulse.lives() => if !lives {
                    *self.pulse.silent_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                    return Err(given_up());
                }
            }
            patience = SOON;
        }
        Err(given_up())
    }
}

fn given_up() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database is silent"))
}
