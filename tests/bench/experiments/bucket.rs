//! E9: files in a bucket, through the element and by a bare client of the same S3 server.

use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use element_api::FileMetadata;
use object_store::PutPayload;

use super::content;
use crate::bucket::{BareClient, Bucket};
use crate::client::{Connection, request, share, upload_frame};
use crate::element::{Element, stored};
use crate::measure::{Meter, Sample, take_turns};
use crate::report::{Row, Target};
use crate::scene::Scene;

const BYTES: usize = 16 << 20;
const CLIENTS: usize = 4;
const LEAST: f64 = 0.9;

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    let bucket = Bucket::from_environment()?;
    let element = Element::start_with(scene, "bucket", &bucket.environment("bench")?)?;
    let (files, reads) = (scene.choose(32, 8), scene.choose(256, 16));
    let bytes = content(BYTES);
    let puts = take_turns(
        scene,
        "put",
        &mut [
            ("ours", Box::new(|| upload(scene, &element, &bytes, files))),
            ("bare", Box::new(|| put(&bucket, &bytes, files))),
        ],
    )?;
    let file = element.store("get.bin", &bytes)?;
    let bare = bucket.client()?;
    bare.put(&key(0), PutPayload::from(bytes))?;
    let gets = take_turns(
        scene,
        "get",
        &mut [
            ("ours", Box::new(|| download(scene, &element, &file, reads))),
            ("bare", Box::new(|| get(&bucket, reads))),
        ],
    )?;
    bare.delete(&key(0))?;
    element.delete(&file)?;
    element.discard(scene, "bucket")?;
    let row = |what: &str, results: &[Vec<Sample>]| {
        let [ours, bare] = results else {
            anyhow::bail!("a contender is missing");
        };
        let name = format!("E9 {what} of 16 MiB in a bucket, {CLIENTS} clients");
        Ok(Row::of_rates(&name, "/s", (ours, bare), Target::AtLeast(LEAST)))
    };
    Ok(vec![row("put", &puts)?, row("get", &gets)?])
}

fn key(number: usize) -> String {
    format!("bare/{number}")
}

/// Stores so many files through the element, and deletes them when the time is taken.
fn upload(scene: &Scene, element: &Element, bytes: &[u8], files: usize) -> Result<Sample> {
    let (mut request, end) = upload_frame("put.bin", &scene.token, Some(bytes.len() as u64));
    request.extend(bytes);
    request.extend(end);
    let kept = Mutex::new(Vec::new());
    let mut meter = None;
    share(
        CLIENTS,
        files,
        |_| Connection::open(element.port),
        |connection, _| {
            let answer = connection.call(&request)?;
            let file = stored(answer.status, &answer.body)?;
            kept.lock()
                .map_err(|_| anyhow::anyhow!("a load thread panicked"))?
                .push(file);
            Ok(())
        },
        || {
            meter = Some(Meter::start(Some(element.pid()))?);
            Ok(())
        },
    )?;
    let sample = meter.context("nothing was measured")?.stop(files as f64)?;
    for file in kept
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a load thread panicked"))?
    {
        element.delete(&file)?;
    }
    Ok(sample)
}

fn download(scene: &Scene, element: &Element, file: &FileMetadata, files: usize) -> Result<Sample> {
    let request = request("GET", &format!("/api/v1/files/{}", file.file_id), &scene.token, None);
    let mut meter = None;
    share(
        CLIENTS,
        files,
        |_| Connection::open(element.port),
        |connection, _| connection.fetch(&request, 200).map(drop),
        || {
            meter = Some(Meter::start(Some(element.pid()))?);
            Ok(())
        },
    )?;
    meter.context("nothing was measured")?.stop(files as f64)
}

fn put(bucket: &Bucket, bytes: &[u8], files: usize) -> Result<Sample> {
    let payload = PutPayload::from(bytes.to_vec());
    let sample = by_bare_clients(bucket, files, |client, piece| client.put(&key(piece), payload.clone()))?;
    let client = bucket.client()?;
    (0..files).try_for_each(|piece| client.delete(&key(piece)))?;
    Ok(sample)
}

fn get(bucket: &Bucket, files: usize) -> Result<Sample> {
    by_bare_clients(bucket, files, |client, _| {
        let length = client.get(&key(0))?;
        ensure!(length == BYTES, "an object has {length} bytes");
        Ok(())
    })
}

fn by_bare_clients(
    bucket: &Bucket,
    files: usize,
    work: impl Fn(&BareClient, usize) -> Result<()> + Sync,
) -> Result<Sample> {
    let mut meter = None;
    share(
        CLIENTS,
        files,
        |_| bucket.client(),
        |client, piece| work(client, piece),
        || {
            meter = Some(Meter::start(None)?);
            Ok(())
        },
    )?;
    meter.context("nothing was measured")?.stop(files as f64)
}
