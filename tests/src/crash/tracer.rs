//! One process under ptrace: every call of any of its threads that changes a file or sends something is counted, in one order.
//!
//! At a chosen call the process can be killed, or the call fail, before it happens; or all calls are recorded, up to a chosen one.
//! strace counts per thread and per kind of call, so that with it many moments cannot be named; `kill` uses both. x86-64 only.

mod call;
mod process;

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub use self::call::{Call, Kind};
use self::process::Process;
use super::power::Journal;
use super::site::Launch;

/// How long a flush takes while it is recorded, as on a disk: what others do meanwhile is not covered by it.
const FLUSH: Duration = Duration::from_millis(3);

/// The same of a folder: longer than the commit that follows it, so that an answer that did not wait for it comes before it ends.
const FOLDER_FLUSH: Duration = Duration::from_millis(25);

/// Whether it is the call that is waited for.
pub type Test = fn(&Call) -> bool;

/// What to do with the calls.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Count them.
    Count,
    /// Kill the process when it is about to make this one, counted from 1.
    KillAt(usize),
    /// Let this one fail, or the next that can.
    FailAt(usize, Failure),
    /// Write all of them down, those before it is armed as well. After that, kill the process when it is about to make the last
    /// of these calls, which come in this order; never when there are none.
    Record(Arc<Journal>, &'static [Test]),
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It does nothing and answers this.
    Error(Errno),
    /// A write takes only half of what it is given.
    Short,
}

impl Failure {
    /// Whether a file system could do this to such a call.
    pub const fn suits(self, call: &Call) -> bool {
        match (self, call.kind) {
            (_, Kind::Send) => false,
            (Self::Short, kind) => matches!(kind, Kind::Write) && call.length > 1,
            // A removal needs no room.
            (Self::Error(Errno::ENOSPC), kind) => !matches!(kind, Kind::Unlink),
            (Self::Error(_), _) => true,
        }
    }
}

/// The call at which something was done to the process.
#[derive(Clone, Debug)]
pub struct Strike {
    /// The call.
    pub call: Call,
    /// How many calls had been counted by then, this one among them.
    pub number: usize,
    /// What [`Control::moment`] was then.
    pub moment: usize,
}

/// Shared with whoever started the process.
#[derive(Debug, Default)]
pub struct Control {
    armed: AtomicBool,
    ended: AtomicBool,
    /// Set by the driver of the process: how far it has come.
    pub moment: AtomicUsize,
    calls: Mutex<Vec<Call>>,
    strike: Mutex<Option<Strike>>,
}

impl Control {
    /// From now on calls count.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Whether the process is gone.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The calls counted so far.
    pub fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done to the process, if anything was.
    pub fn strike(&self) -> Option<Strike> {
        self.strike.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn struck(&self, call: Call) {
        let (number, moment) = (self.calls().len(), self.moment.load(Ordering::SeqCst));
        *self.strike.lock().unwrap_or_else(PoisonError::into_inner) = Some(Strike { call, number, moment });
    }
}

/// A process that is traced until it ends.
#[derive(Debug)]
pub struct Traced {
    /// Its id.
    pub pid: i32,
    /// What it does and what is done to it.
    pub control: Arc<Control>,
    thread: JoinHandle<Result<ExitStatus>>,
}

impl Traced {
    /// Starts a program, whose calls on files below `root` and on sockets are looked at.
    pub fn start(launch: Launch, root: PathBuf, plan: Plan, armed: bool) -> Result<Self> {
        let control = Arc::new(Control::default());
        control.armed.store(armed, Ordering::SeqCst);
        let (sender, started) = mpsc::channel();
        let shared = Arc::clone(&control);
        // Everything about a traced process must be done by the one thread that traces it.
        let thread = std::thread::spawn(move || {
            let result = trace(&launch, root, plan, &shared, &sender);
            shared.ended.store(true, Ordering::SeqCst);
            result
        });
        match started.recv() {
            Ok(pid) => Ok(Self { pid, control, thread }),
            Err(_) => match join(thread) {
                Err(error) => Err(error.context("failed to start a traced process")),
                Ok(status) => bail!("the traced process ended before it began: {status}"),
            },
        }
    }

    /// Waits for its end, and answers how it ended.
    pub fn wait(self) -> Result<ExitStatus> {
        join(self.thread)
    }
}

fn join(thread: JoinHandle<Result<ExitStatus>>) -> Result<ExitStatus> {
    thread.join().map_err(|_| anyhow!("the tracing thread panicked"))?
}

fn trace(launch: &Launch, root: PathBuf, plan: Plan, control: &Control, started: &Sender<i32>) -> Result<ExitStatus> {
    // Stopped at first, so that not one call is missed.
    let child = launch
        .command(&["/bin/sh", "-c", "kill -STOP $$; exec \"$@\"", "sh"])?
        .spawn()?;
    let leader = Pid::from_raw(i32::try_from(child.id())?);
    waitpid(leader, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::__WNOTHREAD))?;
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options)?;
    kill(leader, Signal::SIGCONT)?;
    started.send(leader.as_raw())?;
    let process = Process::new(leader.as_raw());
    let mut tracer = Tracer {
        leader,
        process,
        root,
        plan,
        control,
        inside: HashMap::new(),
        flushing: Vec::new(),
        reached: 0,
        status: None,
    };
    tracer.follow()
}

struct Tracer<'a> {
    leader: Pid,
    process: Process,
    root: PathBuf,
    plan: Plan,
    control: &'a Control,
    /// Threads that are inside a call.
    inside: HashMap<Pid, Inside>,
    /// Threads that wait for the time a flush takes, and until when.
    flushing: Vec<(Instant, Pid)>,
    /// How many of the calls of [`Plan::Record`] came.
    reached: usize,
    status: Option<ExitStatus>,
}

/// What is to be done when a call returns.
enum Inside {
    Nothing,
    Fail(Errno),
    Record(Call, usize),
}

impl Tracer<'_> {
    fn follow(&mut self) -> Result<ExitStatus> {
        loop {
            self.end_flushes()?;
            let waits = if self.flushing.is_empty() {
                WaitPidFlag::empty()
            } else {
                WaitPidFlag::WNOHANG
            };
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | waits)) {
                Err(Errno::ECHILD) => return self.status.context("the traced process ended and nobody knows how"),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("failed to wait for a traced thread"),
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    self.at_call(thread)?;
                    if self.flushing.last().is_none_or(|(_, flushing)| *flushing != thread) {
                        resume(thread, None)?;
                    }
                }
                Ok(WaitStatus::PtraceEvent(thread, _, _)) => resume(thread, None)?,
                Ok(WaitStatus::Stopped(thread, signal)) => resume(thread, Some(signal))?,
                Ok(WaitStatus::Exited(thread, code)) => self.ended(thread, ExitStatus::from_raw(code << 8)),
                Ok(WaitStatus::Signaled(thread, signal, _)) => self.ended(thread, ExitStatus::from_raw(signal as i32)),
                Ok(WaitStatus::Continued(_)) => {}
                // A flush is under way. A sleep, however short, would make every call of the others as slow as that flush.
                Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
            }
        }
    }

    fn ended(&mut self, thread: Pid, status: ExitStatus) {
        self.inside.remove(&thread);
        if thread == self.leader {
            self.status = Some(status);
        }
    }

    /// Lets those go on whose flush has taken its time.
    fn end_flushes(&mut self) -> Result<()> {
        let now = Instant::now();
        for (_, thread) in self.flushing.extract_if(.., |(until, _)| *until <= now) {
            resume(thread, None)?;
        }
        Ok(())
    }

    fn at_call(&mut self, thread: Pid) -> Result<()> {
        let Some(registers) = alive(ptrace::getregs(thread))? else {
            return Ok(());
        };
        match self.inside.remove(&thread) {
            None => {
                let inside = self.enter(thread, registers)?;
                self.inside.insert(thread, inside);
                Ok(())
            }
            Some(inside) => self.leave(thread, registers, inside),
        }
    }

    /// A call that has not happened yet.
    fn enter(&mut self, thread: Pid, registers: user_regs_struct) -> Result<Inside> {
        let armed = self.control.armed.load(Ordering::SeqCst);
        if !armed && !matches!(self.plan, Plan::Record(..)) {
            return Ok(Inside::Nothing);
        }
        let Some(call) = Call::of(&registers, &self.process, thread.as_raw(), &self.root) else {
            return Ok(Inside::Nothing);
        };
        if let Plan::Record(journal, until) = &self.plan {
            let (began, until) = (journal.len(), *until);
            return self.record(thread, call, began, if armed { until } else { &[] });
        }
        let number = {
            let mut calls = self.control.calls();
            calls.push(call.clone());
            calls.len()
        };
        match &self.plan {
            Plan::KillAt(at) if number == *at => self.kill(call),
            Plan::FailAt(at, failure) if number >= *at && failure.suits(&call) && self.control.strike().is_none() => {
                self.control.struck(call);
                fail(thread, registers, *failure)
            }
            _ => Ok(Inside::Nothing),
        }
    }

    fn record(&mut self, thread: Pid, call: Call, began: usize, until: &[Test]) -> Result<Inside> {
        if until.get(self.reached).is_some_and(|test| test(&call)) {
            self.reached += 1;
            if self.reached == until.len() {
                let is_cut = |inside: &Inside| matches!(inside, Inside::Record(..));
                // It may happen or not, and the record would not know.
                ensure!(
                    !self.inside.values().any(is_cut),
                    "another call was under way at the kill"
                );
                return self.kill(call);
            }
        }
        if call.kind == Kind::Send {
            return Ok(Inside::Nothing);
        }
        if call.kind == Kind::Sync {
            let takes = if call.path.is_dir() { FOLDER_FLUSH } else { FLUSH };
            self.flushing.push((Instant::now() + takes, thread));
        }
        Ok(Inside::Record(call, began))
    }

    fn kill(&self, call: Call) -> Result<Inside> {
        self.control.struck(call);
        alive(kill(self.leader, Signal::SIGKILL))?;
        Ok(Inside::Nothing)
    }

    fn leave(&self, thread: Pid, registers: user_regs_struct, inside: Inside) -> Result<()> {
        let answer = registers.rax.cast_signed();
        match inside {
            Inside::Fail(errno) => {
                let answer = i64::from(-(errno as i32));
                let changed = user_regs_struct {
                    rax: answer.cast_unsigned(),
                    ..registers
                };
                alive(ptrace::setregs(thread, changed)).map(drop)
            }
            Inside::Record(call, began) if answer >= 0 => {
                if let Plan::Record(journal, _) = &self.plan {
                    call.record(&self.process, answer.cast_unsigned(), began, journal)?;
                }
                Ok(())
            }
            Inside::Record(..) | Inside::Nothing => Ok(()),
        }
    }
}

fn fail(thread: Pid, registers: user_regs_struct, failure: Failure) -> Result<Inside> {
    let (changed, inside) = match failure {
        // Call number -1 does nothing; the answer is put in its place when it returns.
        Failure::Error(errno) => (
            user_regs_struct {
                orig_rax: u64::MAX,
                ..registers
            },
            Inside::Fail(errno),
        ),
        Failure::Short => (
            user_regs_struct {
                rdx: registers.rdx / 2,
                ..registers
            },
            Inside::Nothing,
        ),
    };
    alive(ptrace::setregs(thread, changed))?;
    Ok(inside)
}

fn resume(thread: Pid, signal: Option<Signal>) -> Result<()> {
    alive(ptrace::syscall(thread, signal)).map(drop)
}

/// A thread may be killed at any time; then there is nothing left to do to it.
fn alive<T>(result: nix::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ESRCH) => Ok(None),
        Err(error) => Err(error).context("failed to control a traced thread"),
    }
}

/// The folder in which a relative path begins, when a call names none.
const HERE: i32 = libc::AT_FDCWD;

#[cfg(test)]
mod tests;
