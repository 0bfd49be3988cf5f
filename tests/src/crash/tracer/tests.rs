use std::path::Path;

use super::*;
use crate::crash::power::Change;

/// Runs a shell that makes two files below `in`.
fn traced(folder: &Path, plan: Plan) -> Arc<Control> {
    let root = folder.join("in");
    std::fs::create_dir(&root).unwrap();
    let script = "echo one > \"$0/a\"; echo two > \"$0/b\"";
    let launch = Launch::new(
        "/bin/sh".into(),
        &["-c", script, root.to_str().unwrap()],
        folder.join("log"),
    );
    let traced = Traced::start(launch, root, plan, true).unwrap();
    let control = Arc::clone(&traced.control);
    traced.wait().unwrap();
    control
}

fn content(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join("in").join(name)).ok()
}

#[test]
fn calls_that_change_files_below_the_root_are_counted_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let control = traced(folder.path(), Plan::Count);
    let calls: Vec<Kind> = control.calls().iter().map(|call| call.kind).collect();
    let open = Kind::Open {
        create: true,
        truncate: true,
    };
    assert_eq!(calls, [open, Kind::Write, open, Kind::Write]);
    assert_eq!(content(folder.path(), "b").as_deref(), Some("two\n"));
}

#[test]
fn killed_process_has_made_every_call_before_and_none_after() {
    let folder = tempfile::tempdir().unwrap();
    let control = traced(folder.path(), Plan::KillAt(4));
    assert_eq!(control.strike().unwrap().call.kind, Kind::Write);
    assert_eq!(content(folder.path(), "a").as_deref(), Some("one\n"));
    assert_eq!(content(folder.path(), "b").as_deref(), Some(""));
}

#[test]
fn failed_call_changes_nothing_and_the_process_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    traced(folder.path(), Plan::FailAt(1, Failure::Error(Errno::EIO)));
    assert_eq!(content(folder.path(), "a"), None);
    assert_eq!(content(folder.path(), "b").as_deref(), Some("two\n"));
}

#[test]
fn short_write_takes_half() {
    let folder = tempfile::tempdir().unwrap();
    traced(folder.path(), Plan::FailAt(1, Failure::Short));
    // The shell writes the rest itself, or leaves it; never more than the kernel said it took.
    assert!(matches!(content(folder.path(), "a").as_deref(), Some("on" | "one\n")));
}

#[test]
fn recorded_changes_say_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::new(folder.path().join("in")));
    traced(folder.path(), Plan::Record(Arc::clone(&journal), &[]));
    let write = Change::Write {
        path: "b".into(),
        offset: 0,
        data: b"two\n".to_vec(),
    };
    assert_eq!(journal.take().last(), Some(&write));
}

#[test]
fn recorded_process_is_killed_at_the_last_of_the_calls_that_were_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::new(folder.path().join("in")));
    let is_write: Test = |call| call.kind == Kind::Write;
    let until: &'static [Test] = Box::leak(Box::new([is_write, is_write]));
    let control = traced(folder.path(), Plan::Record(Arc::clone(&journal), until));
    assert!(control.strike().unwrap().call.path.ends_with("b"));
    assert_eq!(content(folder.path(), "b").as_deref(), Some(""));
    let kinds: Vec<bool> = journal
        .take()
        .iter()
        .map(|change| matches!(change, Change::Write { .. }))
        .collect();
    assert_eq!(kinds, [false, true, false]);
}

#[test]
fn end_of_a_process_is_told_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let end = |script: &str| {
        let launch = Launch::new("/bin/sh".into(), &["-c", script], folder.path().join("log"));
        let traced = Traced::start(launch, folder.path().join("in"), Plan::Count, true).unwrap();
        traced.wait().unwrap()
    };
    assert_eq!(end("exit 3").code(), Some(3));
    assert_eq!(end("kill -9 $$").signal(), Some(9));
}
