//! System calls that change files or send something, told from the registers.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::libc::{self, user_regs_struct};

use super::HERE;
use super::process::Process;
use crate::crash::power::{Change, Journal};

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens a file for writing, or makes it.
    Open {
        /// Made when absent.
        create: bool,
        /// Emptied.
        truncate: bool,
    },
    /// Writes content.
    Write,
    /// Changes a length.
    Truncate,
    /// Flushes a file or folder.
    Sync,
    /// Makes a folder.
    Mkdir,
    /// Gives another name.
    Rename,
    /// Gives one more name.
    Link,
    /// Removes a name.
    Unlink,
    /// Sends to a database, a client or anybody else.
    Send,
}

/// How the names of the threads begin on which sqlx runs SQLite. The kernel keeps 15 bytes of a name.
const THREADS: &str = "sqlx-sqlite";

/// How the names of SQLite's files begin.
const DATABASE: &str = "element.db";

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it does.
    pub kind: Kind,
    /// The file or folder.
    pub path: PathBuf,
    /// The other name.
    pub to: Option<PathBuf>,
    /// Bytes to write, or the new length.
    pub length: u64,
    /// The name of the thread that flushes.
    by: String,
    number: i32,
    address: u64,
    offset: Option<u64>,
    vector: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            Kind::Open { .. } => "open",
            Kind::Write => "write",
            Kind::Truncate => "truncate",
            Kind::Sync => "sync",
            Kind::Mkdir => "mkdir",
            Kind::Rename => "rename",
            Kind::Link => "link",
            Kind::Unlink => "unlink",
            Kind::Send => "send",
        };
        write!(formatter, "{word} {}", self.path.display())?;
        match &self.to {
            Some(to) => write!(formatter, " to {}", to.display()),
            None => Ok(()),
        }
    }
}

impl Call {
    /// The call a thread is about to make, if it changes something below `root` or sends. A path that cannot be read is one
    /// the kernel cannot read either.
    pub(super) fn of(registers: &user_regs_struct, process: &Process, thread: i32, root: &Path) -> Option<Self> {
        let mut call = Self::decode(registers, process)?;
        let counts = call.kind == Kind::Send
            || call.path.starts_with(root)
            || call.to.as_ref().is_some_and(|to| to.starts_with(root));
        if call.kind == Kind::Sync {
            // A thread whose name is not known is taken for one of the element's own, of which more is asked.
            call.by = process.thread_name(thread).unwrap_or_default();
        }
        counts.then_some(call)
    }

    /// Whether it is a flush by the element itself, and not by the database within it: that flushes its files, on whichever thread
    /// closes them, and the folder they are in on threads of its own.
    pub fn is_own_flush(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.kind == Kind::Sync && !self.by.starts_with(THREADS) && !name.starts_with(DATABASE)
    }

    fn decode(registers: &user_regs_struct, process: &Process) -> Option<Self> {
        let [first, second, third, fourth] = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let path = |folder: u64, address: u64| process.path(number(folder), address).ok();
        let here = u64::from(HERE.cast_unsigned());
        let named = |kind, path: Option<PathBuf>| Some(Self::plain(kind, path?));
        let two = |kind, from: Option<PathBuf>, to: Option<PathBuf>| {
            Some(Self {
                to: Some(to?),
                ..Self::plain(kind, from?)
            })
        };
        match registers.orig_rax.cast_signed() {
            libc::SYS_open => Self::opened(path(here, first)?, second),
            libc::SYS_openat => Self::opened(path(first, second)?, third),
            libc::SYS_creat => named(
                Kind::Open {
                    create: true,
                    truncate: true,
                },
                path(here, first),
            ),
            libc::SYS_mkdir => named(Kind::Mkdir, path(here, first)),
            libc::SYS_mkdirat => named(Kind::Mkdir, path(first, second)),
            libc::SYS_unlink | libc::SYS_rmdir => named(Kind::Unlink, path(here, first)),
            libc::SYS_unlinkat => named(Kind::Unlink, path(first, second)),
            libc::SYS_rename => two(Kind::Rename, path(here, first), path(here, second)),
            libc::SYS_renameat | libc::SYS_renameat2 => two(Kind::Rename, path(first, second), path(third, fourth)),
            libc::SYS_link => two(Kind::Link, path(here, first), path(here, second)),
            libc::SYS_linkat => two(Kind::Link, path(first, second), path(third, fourth)),
            _ => Self::on_open_file(registers, process),
        }
    }

    fn on_open_file(registers: &user_regs_struct, process: &Process) -> Option<Self> {
        let [file, second, third, fourth] = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let call = |kind| {
            Some(Self {
                number: number(file),
                address: second,
                ..Self::plain(kind, process.file(number(file)).ok()?)
            })
        };
        let written = |offset, vector| {
            let call = call(Kind::Write)?;
            let kind = if call.path.to_string_lossy().starts_with("socket:") {
                Kind::Send
            } else {
                Kind::Write
            };
            Some(Self {
                kind,
                length: third,
                offset,
                vector,
                ..call
            })
        };
        match registers.orig_rax.cast_signed() {
            libc::SYS_write => written(None, false),
            libc::SYS_pwrite64 => written(Some(fourth), false),
            libc::SYS_writev => written(None, true),
            libc::SYS_pwritev | libc::SYS_pwritev2 => written(Some(fourth), true),
            libc::SYS_sendto | libc::SYS_sendmsg => call(Kind::Send),
            libc::SYS_fsync | libc::SYS_fdatasync => call(Kind::Sync),
            libc::SYS_ftruncate => Some(Self {
                length: second,
                ..call(Kind::Truncate)?
            }),
            _ => None,
        }
    }

    fn opened(path: PathBuf, flags: u64) -> Option<Self> {
        let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
        let changes = has(libc::O_CREAT) || has(libc::O_TRUNC) || has(libc::O_WRONLY) || has(libc::O_RDWR);
        let kind = Kind::Open {
            create: has(libc::O_CREAT),
            truncate: has(libc::O_TRUNC),
        };
        changes.then(|| Self::plain(kind, path))
    }

    const fn plain(kind: Kind, path: PathBuf) -> Self {
        Self {
            kind,
            path,
            to: None,
            length: 0,
            by: String::new(),
            number: -1,
            address: 0,
            offset: None,
            vector: false,
        }
    }

    /// Writes down what a call has done that answered `answer` and was begun when the journal held `began` changes.
    pub(super) fn record(self, process: &Process, answer: u64, began: usize, journal: &Journal) -> Result<()> {
        let path = self.path.clone();
        let change = match self.kind {
            Kind::Send => return Ok(()),
            Kind::Open { create, truncate } => Change::Open { path, create, truncate },
            Kind::Write => {
                let offset = match self.offset {
                    Some(offset) => offset,
                    None => process.position(self.number)?.saturating_sub(answer),
                };
                let data = self.data(process, answer)?;
                Change::Write { path, offset, data }
            }
            Kind::Truncate => Change::Truncate {
                path,
                length: self.length,
            },
            Kind::Sync => Change::Sync { path, covers: began },
            Kind::Mkdir => Change::Mkdir { path },
            Kind::Rename => Change::Rename {
                from: path,
                to: self.to.unwrap_or_default(),
            },
            Kind::Link => Change::Link {
                from: path,
                to: self.to.unwrap_or_default(),
            },
            Kind::Unlink => Change::Unlink { path },
        };
        journal.note(change);
        Ok(())
    }

    /// The bytes that were written, as they still stand in the memory of the writer.
    fn data(&self, process: &Process, written: u64) -> Result<Vec<u8>> {
        if !self.vector {
            return Ok(process.bytes(self.address, written)?);
        }
        let mut data = Vec::new();
        for pair in process.bytes(self.address, 16 * self.length)?.chunks_exact(16) {
            let (address, length) = pair.split_at(8);
            let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
            data.extend(process.bytes(word(address)?, word(length)?)?);
        }
        data.truncate(usize::try_from(written)?);
        Ok(data)
    }
}

/// File numbers are the low half of a register.
fn number(register: u64) -> i32 {
    let bytes = register.to_le_bytes();
    let [a, b, c, d, ..] = bytes;
    i32::from_le_bytes([a, b, c, d])
}
