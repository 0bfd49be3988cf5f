//! Measuring: contenders take turns, round by round, so that whatever the machine does meanwhile meets them alike.

use std::time::Instant;

use anyhow::Result;
use e2e::step::say;

use crate::process;
use crate::scene::Scene;

/// One contender's turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Units in a second.
    pub(crate) rate: f64,
    /// CPU seconds of the server for one unit.
    pub(crate) cpu: f64,
    /// Cores the load client took.
    pub(crate) client: f64,
}

/// Looks at a server's and our own CPU from `start` to `stop`.
pub(crate) struct Meter {
    server: Option<u32>,
    server_cpu: f64,
    own_cpu: f64,
    started: Instant,
}

impl Meter {
    /// Without a server the work is done in this process, as a floor is.
    pub(crate) fn start(server: Option<u32>) -> Result<Self> {
        Ok(Self {
            server,
            server_cpu: server.map(process::cpu_of_tree).transpose()?.unwrap_or_default(),
            own_cpu: process::own_cpu()?,
            started: Instant::now(),
        })
    }

    /// `units` were done since the start.
    pub(crate) fn stop(self, units: f64) -> Result<Sample> {
        let elapsed = self.started.elapsed().as_secs_f64();
        let own = process::own_cpu()? - self.own_cpu;
        let server = match self.server {
            Some(pid) => process::cpu_of_tree(pid)? - self.server_cpu,
            None => own,
        };
        Ok(Sample {
            rate: units / elapsed,
            cpu: server / units,
            client: if self.server.is_some() { own / elapsed } else { 0.0 },
        })
    }
}

/// A contender: its name, and one turn of it.
pub(crate) type Contender<'a, T> = (&'a str, Box<dyn FnMut() -> Result<T> + 'a>);

/// Gives each contender a turn that does not count, then as many as there are rounds, one after the other.
pub(crate) fn take_turns<T>(scene: &Scene, what: &str, contenders: &mut [Contender<'_, T>]) -> Result<Vec<Vec<T>>> {
    for (_, turn) in contenders.iter_mut() {
        scene.settle();
        turn()?;
    }
    let mut results: Vec<Vec<T>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 1..=scene.rounds {
        let started = Instant::now();
        for ((_, turn), results) in contenders.iter_mut().zip(&mut results) {
            scene.settle();
            results.push(turn()?);
        }
        let seconds = started.elapsed().as_secs_f64();
        say(&format!("  {what}: round {round} of {}, {seconds:.1} s", scene.rounds));
    }
    Ok(results)
}

/// A middle value and how far the others lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: percentile(&values, 50.0),
            low: values.first().copied().unwrap_or(f64::NAN),
            high: values.last().copied().unwrap_or(f64::NAN),
        }
    }

    /// Of each round's own ratio: what slowed the machine down for a while slowed both.
    pub(crate) fn of_ratios(ours: &[f64], reference: &[f64]) -> Self {
        Self::of(ours.iter().zip(reference).map(|(ours, reference)| ours / reference))
    }
}

/// The value below which `percent` of the sorted values lie; of an even number the lower middle one is the median.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

pub(crate) fn rates(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.rate).collect()
}

pub(crate) fn cpus(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.cpu).collect()
}

pub(crate) fn client_cores(samples: &[Sample]) -> f64 {
    Spread::of(samples.iter().map(|sample| sample.client)).median
}
