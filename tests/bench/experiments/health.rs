//! E10: how fast the element says that it lives and is ready, while uploads keep it as busy as they can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::content;
use crate::client::{Connection, request, upload_frame};
use crate::element::Element;
use crate::measure::{Spread, percentile};
use crate::report::{Row, Target, rounded};
use crate::scene::Scene;

/// Clients that store 4 KiB after 4 KiB, and clients that store 16 MiB after 16 MiB.
const SMALL: usize = 16;
const LARGE: usize = 2;
const SMALL_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 16 << 20;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);
const P99_MILLISECONDS: f64 = 5.0;

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    let element = Element::start(scene, "health")?;
    let mut rows = Vec::new();
    for path in ["/health/live", "/health/ready"] {
        let idle = asked(scene, &element, path)?;
        let mut busy = Vec::new();
        for _ in 0..scene.rounds {
            busy.push(under_load(scene, &element, || asked(scene, &element, path))?);
        }
        let p99: Vec<f64> = busy.iter().map(|times| percentile(times, 99.0)).collect();
        let p50: Vec<f64> = busy.iter().map(|times| percentile(times, 50.0)).collect();
        let spread = Spread::of(p99);
        let row = Row::alone(
            &format!("E10 p99 of {path} under uploads"),
            "ms",
            spread.median,
            Target::AtMost(P99_MILLISECONDS),
        );
        rows.push(row.with(&format!(
            "rounds from {} to {} ms; the median is {} ms; idle the p99 is {} ms",
            rounded(spread.low),
            rounded(spread.high),
            rounded(Spread::of(p50).median),
            rounded(percentile(&idle, 99.0))
        )));
    }
    element.discard(scene, "health")?;
    Ok(rows)
}

/// The milliseconds of each answer, sorted.
fn asked(scene: &Scene, element: &Element, path: &str) -> Result<Vec<f64>> {
    let mut connection = Connection::open(element.port)?;
    let request = request("GET", path, &scene.token, None);
    let mut times = Vec::new();
    for _ in 0..scene.choose(1000, 300) {
        let started = Instant::now();
        let answer = connection.call(&request)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status == 200, "{path} was answered with {}", answer.status);
        std::thread::sleep(PAUSE);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Does `work` while uploads run on other threads.
fn under_load<T>(scene: &Scene, element: &Element, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for number in 0..SMALL + LARGE {
            let bytes = if number < SMALL { SMALL_BYTES } else { LARGE_BYTES };
            let over = &over;
            clients.push(scope.spawn(move || keep_uploading(scene, element, bytes, over)));
        }
        let result = work();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            match client.join() {
                Ok(ended) => ended?,
                Err(_) => bail!("a load thread panicked"),
            }
        }
        result
    })
}

fn keep_uploading(scene: &Scene, element: &Element, bytes: usize, over: &AtomicBool) -> Result<()> {
    let (mut request, end) = upload_frame("busy.bin", &scene.token, Some(bytes as u64));
    request.extend(content(bytes));
    request.extend(end);
    let mut connection = Connection::open(element.port)?;
    while !over.load(Ordering::Relaxed) {
        let answer = connection.call(&request)?;
        let file = crate::element::stored(answer.status, &answer.body)?;
        if bytes == LARGE_BYTES {
            // The disk would fill otherwise.
            element.delete(&file)?;
        }
    }
    Ok(())
}
