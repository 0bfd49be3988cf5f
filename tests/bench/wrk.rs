//! wrk, where requests are small and all alike: it reads 8 KiB at a time, which is too little for large files.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::command::{command, run};

/// Requests a second for one address over so many connections.
pub(crate) fn requests_per_second(
    port: u16,
    path: &str,
    token: &str,
    connections: usize,
    time: Duration,
) -> Result<f64> {
    let mut wrk = command("wrk", ["--threads", "2"]);
    wrk.args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs().max(1))])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .arg(format!("http://127.0.0.1:{port}{path}"));
    let text = run(&mut wrk)?;
    for line in text.lines().map(str::trim) {
        if line.starts_with("Non-2xx") || line.starts_with("Socket errors") {
            bail!("wrk: {line}");
        }
    }
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    rate.context("wrk printed no rate")?
        .trim()
        .parse()
        .context("wrk printed no number")
}
