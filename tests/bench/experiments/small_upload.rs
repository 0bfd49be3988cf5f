//! E3: small durable uploads, against a floor that does on disk and in the database only what cannot be left out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::content;
use crate::client::{Connection, share, upload_frame};
use crate::element::Element;
use crate::floor::{self, SmallFloor};
use crate::measure::{Meter, Sample, Spread, take_turns};
use crate::process;
use crate::report::{Row, Target, count, rounded};
use crate::scene::Scene;

const BYTES: usize = 4096;
const FLOOR: &str = "bench_floor";

/// Clients, and how many uploads they share in one turn.
const CASES: [(usize, usize, usize); 2] = [(1, 600, 150), (16, 4000, 800)];

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    ensure!(scene.database.is_durable()?, "PostgreSQL does not flush its commits");
    let element = Element::start(scene, "small")?;
    floor::prepare(&scene.database, FLOOR)?;
    let postgres = scene.database.pid()?;
    let request = whole_request(scene);
    let mut rows = Vec::new();
    for (clients, full, quick) in CASES {
        let uploads = scene.choose(full, quick);
        let (mut flushes, mut database) = (Vec::new(), Vec::new());
        let results = take_turns(
            scene,
            &count(clients as u64, "client"),
            &mut [
                (
                    "ours",
                    Box::new(|| {
                        let (disk, cpu) = (device_flushes(&element.storage)?, process::cpu_of_tree(postgres)?);
                        let sample = upload(element.pid(), element.port, &request, clients, uploads)?;
                        flushes.push((device_flushes(&element.storage)? - disk) / uploads as f64);
                        database.push((process::cpu_of_tree(postgres)? - cpu) / uploads as f64);
                        Ok(sample)
                    }),
                ),
                ("floor", Box::new(|| store(scene, clients, uploads))),
            ],
        )?;
        let [ours, floor] = results.as_slice() else {
            anyhow::bail!("a contender is missing");
        };
        let name = format!("E3 durable upload of 4 KiB, {}", count(clients as u64, "client"));
        let row = Row::of_rates(&name, "/s", (ours, floor), Target::AtLeast(0.5));
        rows.push(row.with(&format!(
            "PostgreSQL {} µs of CPU per upload; the disk was flushed {} times per upload",
            rounded(Spread::of(database).median * 1e6),
            rounded(Spread::of(flushes).median)
        )));
    }
    element.discard(scene, "small")?;
    scene.database.drop(FLOOR)?;
    for (clients, full, quick) in CASES {
        rows.push(flush_calls(scene, &request, clients, scene.choose(full, quick) / 2)?);
    }
    Ok(rows)
}

fn whole_request(scene: &Scene) -> Vec<u8> {
    let (mut request, end) = upload_frame("small.bin", &scene.token, Some(BYTES as u64));
    request.extend(content(BYTES));
    request.extend(end);
    request
}

fn upload(pid: u32, port: u16, request: &[u8], clients: usize, uploads: usize) -> Result<Sample> {
    let mut meter = None;
    share(
        clients,
        uploads,
        |_| Connection::open(port),
        |connection, _| {
            let answer = connection.call(request)?;
            ensure!(answer.status == 201, "an upload was answered with {}", answer.status);
            Ok(())
        },
        || {
            meter = Some(Meter::start(Some(pid))?);
            Ok(())
        },
    )?;
    meter.context("nothing was measured")?.stop(uploads as f64)
}

/// A turn of the floor, in a folder of its own. It stays until the end: ext4 takes no inode that was freed in the last minutes, and
/// looks for others one by one, so that whoever creates files would pay for a folder that goes.
fn store(scene: &Scene, clients: usize, files: usize) -> Result<Sample> {
    let folder = scene.new_folder("floor")?;
    let content = content(BYTES);
    scene.database.connect(FLOOR)?.batch_execute("TRUNCATE floor")?;
    let mut meter = None;
    share(
        clients,
        files,
        |number| SmallFloor::new(&scene.database, FLOOR, &folder, &content, number.to_string()),
        |floor, _| floor.store(),
        || {
            meter = Some(Meter::start(None)?);
            Ok(())
        },
    )?;
    meter.context("nothing was measured")?.stop(files as f64)
}

/// Flush calls of element and database per upload, counted by strace and by PostgreSQL itself, in a run of their own.
fn flush_calls(scene: &Scene, request: &[u8], clients: usize, uploads: usize) -> Result<Row> {
    let counts = scene.at("flushes");
    let strace = ["strace", "-f", "--seccomp-bpf", "-c", "-o"]
        .map(str::to_owned)
        .into_iter();
    let strace: Vec<String> = strace
        .chain([counts.display().to_string()])
        .chain(["-e", "trace=fsync,fdatasync,syncfs,sync_file_range"].map(str::to_owned))
        .collect();
    let element = Element::start_below(scene, "flushes", &strace)?;
    let before = scene.database.flushes()?;
    upload(element.pid(), element.port, request, clients, uploads)?;
    let traced = process::only_child(element.pid())?;
    process::terminate(traced)?;
    let storage = element.storage.clone();
    element.wait()?;
    // A server process reports what it did when its client is gone, and before that only at times.
    let database = scene.database.flushes()? - before;
    let own = counted(&fs::read_to_string(&counts).context("strace counted nothing")?);
    crate::scene::remove(&storage)?;
    scene.database.drop(&crate::element::database_of("flushes"))?;
    let each = |count: f64| count / uploads as f64;
    let target = if clients > 1 { Target::AtMost(3.0) } else { Target::None };
    let name = format!("E3 flush calls per upload, {}", count(clients as u64, "client"));
    let row = Row::alone(&name, "", each(own + database as f64), target);
    Ok(row.with(&format!(
        "{:.2} of the element, {:.2} of PostgreSQL",
        each(own),
        each(database as f64)
    )))
}

/// The calls of all lines of strace's table but the total.
fn counted(table: &str) -> f64 {
    let calls = |line: &str| {
        let mut words = line.split_whitespace();
        let count = words.nth(3)?.parse::<f64>().ok()?;
        words.last().filter(|name| name.contains("sync")).map(|_| count)
    };
    table.lines().filter_map(calls).sum()
}

/// How often the device below a folder was flushed: the 16th field of its statistics.
fn device_flushes(folder: &Path) -> Result<f64> {
    use std::os::unix::fs::MetadataExt;
    let device = fs::metadata(folder)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text =
        fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).context("failed to look at the disk")?;
    let field = text
        .split_whitespace()
        .nth(15)
        .context("the disk does not count its flushes")?;
    Ok(field.parse()?)
}
