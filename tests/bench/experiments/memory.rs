//! E5: the memory of an idle element, and of one that takes 64 uploads at once.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use rustix::fs::{Advice, fadvise};

use super::content;
use crate::client::{Connection, share, upload_frame};
use crate::element::Element;
use crate::process;
use crate::report::{Row, Target};
use crate::scene::Scene;

const UPLOADS: usize = 64;
const WHOLE: u64 = 1 << 30;
const CHUNK: usize = 1 << 20;

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    leave_the_page_cache(&scene.element)?;
    let element = Element::start(scene, "memory")?;
    let idle = process::peak_memory(element.pid())?;
    let bytes = size_of_each(scene, &element)?;
    let (start, end) = upload_frame("many.bin", &scene.token, None);
    let mut chunk = format!("{CHUNK:x}\r\n").into_bytes();
    chunk.extend(content(CHUNK));
    chunk.extend(b"\r\n");
    share(
        UPLOADS,
        UPLOADS,
        |_| Connection::open(element.port),
        |connection, _| {
            connection.stream().write_all(&start)?;
            for _ in 0..bytes / CHUNK as u64 {
                connection.stream().write_all(&chunk)?;
            }
            connection.stream().write_all(&end)?;
            let answer = connection.answer()?;
            ensure!(answer.status == 201, "an upload was answered with {}", answer.status);
            Ok(())
        },
        || Ok(()),
    )?;
    let (peak, now) = (
        process::peak_memory(element.pid())?,
        process::memory_now(element.pid())?,
    );
    element.discard(scene, "memory")?;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let loaded = Row::alone(
        "E5 peak memory of 64 uploads at once",
        "MiB",
        mebibytes(peak),
        Target::AtMost(64.0),
    );
    let size = if bytes == WHOLE {
        "each of 1 GiB".to_owned()
    } else {
        format!("each cut to {} MiB, for the disk holds no 64 GiB", bytes >> 20)
    };
    Ok(vec![
        Row::alone(
            "E5 peak memory of a start, idle",
            "MiB",
            mebibytes(idle),
            Target::AtMost(20.0),
        ),
        loaded.with(&format!("{size}; {:.0} MiB when they were done", mebibytes(now))),
    ])
}

/// Lets the next start read the program from the disk, as that of a pod does. The kernel keeps what was just written in larger pages,
/// and counts whole ones of them.
fn leave_the_page_cache(program: &Path) -> Result<()> {
    let file = File::open(program)?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

/// A whole GiB each, or as much as leaves half of the disk's room.
fn size_of_each(scene: &Scene, element: &Element) -> Result<u64> {
    let space = rustix::fs::statvfs(&element.storage)?;
    let share = space.f_frsize * space.f_bavail / 2 / UPLOADS as u64;
    let least = share.min(scene.choose(WHOLE, 16 << 20));
    Ok(least / CHUNK as u64 * CHUNK as u64)
}
