//! Looking into a stopped process: its memory and what its file numbers stand for.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Longest path read.
const MAX_PATH: usize = 4096;

/// A process that is stopped while it is looked at.
pub(super) struct Process {
    pid: i32,
}

impl Process {
    pub(super) const fn new(pid: i32) -> Self {
        Self { pid }
    }

    /// Its memory.
    pub(super) fn bytes(&self, address: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.memory()?.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    }

    /// The path that begins at `address`, seen from the folder `folder`.
    pub(super) fn path(&self, folder: i32, address: u64) -> io::Result<PathBuf> {
        let (memory, mut bytes) = (self.memory()?, Vec::new());
        let mut piece = [0; 128];
        while bytes.len() < MAX_PATH {
            let length = memory.read_at(&mut piece, address + bytes.len() as u64)?;
            let piece = piece.get(..length).unwrap_or_default();
            let text = piece.split(|byte| *byte == 0).next().unwrap_or_default();
            bytes.extend_from_slice(text);
            if text.len() < piece.len() || piece.is_empty() {
                break;
            }
        }
        let path = PathBuf::from(OsString::from_vec(bytes));
        if path.is_absolute() {
            return Ok(path);
        }
        let start = if folder == super::HERE {
            fs::read_link(format!("/proc/{}/cwd", self.pid))?
        } else {
            self.file(folder)?
        };
        Ok(start.join(path))
    }

    /// What a thread is called.
    pub(super) fn thread_name(&self, thread: i32) -> io::Result<String> {
        let name = fs::read_to_string(format!("/proc/{}/task/{thread}/comm", self.pid))?;
        Ok(name.trim_end().to_owned())
    }

    /// What a file number stands for: a path, or a word such as `socket:[7]`.
    pub(super) fn file(&self, number: i32) -> io::Result<PathBuf> {
        fs::read_link(format!("/proc/{}/fd/{number}", self.pid))
    }

    /// Where the next read or write of an open file begins.
    pub(super) fn position(&self, number: i32) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", self.pid))?;
        let position = text.lines().find_map(|line| line.strip_prefix("pos:"));
        position
            .and_then(|position| position.trim().parse().ok())
            .ok_or_else(|| io::Error::other("no position"))
    }

    /// Opened anew each time: a program that replaces itself gets another memory.
    fn memory(&self) -> io::Result<File> {
        File::open(format!("/proc/{}/mem", self.pid))
    }
}
