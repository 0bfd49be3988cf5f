//! Leader election on a Lease: of several operators one acts.
//!
//! The holder renews; who finds a Lease unrenewed for its whole duration, by its own clock, takes it. A holder that cannot renew in
//! time stops acting before another may begin.

#![allow(
    clippy::disallowed_methods,
    reason = "a Lease is written whole, at the version that was read"
)]

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::clock::Clock;
use crate::name::MANAGER;
use crate::telemetry::Chain;

/// How long a Lease holds without being renewed.
const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed, and how often others look.
const RENEW: Duration = Duration::from_secs(3);
/// When a holder that could not renew gives up: well before the Lease runs out.
const GIVE_UP: Duration = Duration::from_secs(10);

/// How long one look at the Lease may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Takes part in an election.
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    clock: Arc<dyn Clock>,
    seen: Option<(String, Instant)>,
}

/// What one look at the Lease comes to.
enum Look {
    /// It is ours.
    Held,
    /// It is another's, or was taken by another just now.
    Others,
}

impl Candidate {
    /// A candidate of this identity for the Lease in `namespace`.
    pub fn new(client: Client, namespace: &str, identity: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            identity,
            clock,
            seen: None,
        }
    }

    /// Returns when the Lease is held: since when, counted from before it was asked for.
    pub async fn win(&mut self) -> Instant {
        let mut pace = ticks();
        loop {
            pace.tick().await;
            let asked = Instant::now();
            match timeout(ANSWER, self.look()).await {
                Ok(Ok(Look::Held)) => {
                    tracing::info!(identity = self.identity, "leading");
                    return asked;
                }
                Ok(Ok(Look::Others)) => tracing::debug!("another operator leads"),
                Ok(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), "failed to look at the Lease");
                }
                Err(_) => tracing::warn!("failed to look at the Lease in time"),
            }
        }
    }

    /// Renews the Lease held since `renewed`; returns when it is lost, and never later than [`GIVE_UP`] after the last renewal was
    /// asked for, however slowly the API answers. Others count from when they saw that renewal, which is later.
    pub async fn hold(&mut self, mut renewed: Instant) {
        let mut pace = ticks();
        loop {
            let attempt = async {
                pace.tick().await;
                let asked = Instant::now();
                (asked, timeout(ANSWER, self.look()).await)
            };
            match timeout_at(renewed + GIVE_UP, attempt).await {
                Ok((asked, Ok(Ok(Look::Held)))) => renewed = asked,
                Ok((_, Ok(Ok(Look::Others)))) => return,
                Ok((_, Ok(Err(error)))) => {
                    tracing::warn!(error = %Chain(&error), "failed to renew the Lease");
                }
                Ok((_, Err(_))) => tracing::warn!("failed to renew the Lease in time"),
                Err(_) => return,
            }
        }
    }

    /// Gives the Lease back, so that another need not wait for it to run out.
    pub async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(MANAGER).await? else {
            return Ok(());
        };
        let Some(spec) = lease
            .spec
            .as_mut()
            .filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
        else {
            return Ok(());
        };
        spec.holder_identity = None;
        self.replace(&lease).await.map(drop)
    }

    /// Looks at the Lease, and takes or renews it when that may be done.
    async fn look(&mut self) -> Result<Look, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(MANAGER).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(MANAGER.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.claimed(None)),
            };
            return settle(self.leases.create(&self.params(), &lease).await);
        };
        let current = lease.spec.clone().unwrap_or_default();
        let holder = current.holder_identity.as_deref().filter(|holder| !holder.is_empty());
        if holder.is_some_and(|holder| holder != self.identity) && !self.has_run_out(&lease) {
            return Ok(Look::Others);
        }
        lease.spec = Some(self.claimed(Some(&current)));
        settle(self.replace(&lease).await)
    }

    /// Whether the Lease has not changed for its whole duration. Clocks of two machines are never compared.
    fn has_run_out(&mut self, lease: &Lease) -> bool {
        let version = lease.resource_version().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() > LEASE,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn claimed(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(self.clock.now());
        let held = before.filter(|before| before.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|before| before.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: held
                .and_then(|held| held.acquire_time.clone())
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if held.is_some() || before.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..LeaseSpec::default()
        }
    }

    /// Replaces the version that was read: of two that try at once, one is refused.
    async fn replace(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        self.leases.replace(MANAGER, &self.params(), lease).await
    }

    fn params(&self) -> PostParams {
        PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut pace = interval(RENEW);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

fn settle(result: Result<Lease, kube::Error>) -> Result<Look, kube::Error> {
    match result {
        Ok(_) => Ok(Look::Held),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Look::Others),
        Err(error) => Err(error),
    }
}
