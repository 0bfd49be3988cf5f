use std::path::PathBuf;

use super::*;

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

fn open(name: &str) -> Change {
    Change::Open {
        path: path(name),
        create: true,
        truncate: true,
    }
}

fn write(name: &str, data: &[u8]) -> Change {
    Change::Write {
        path: path(name),
        offset: 0,
        data: data.to_vec(),
    }
}

fn sync(name: &str, covers: usize) -> Change {
    Change::Sync {
        path: path(name),
        covers,
    }
}

fn rename(from: &str, to: &str) -> Change {
    Change::Rename {
        from: path(from),
        to: path(to),
    }
}

fn disk(changes: &[Change]) -> Disk {
    let mut disk = Disk::default();
    for (at, change) in changes.iter().enumerate() {
        disk.apply(at, change);
    }
    disk
}

fn after_nothing_more(changes: &[Change], model: Model) -> Left {
    disk(changes).after_cut(model, Disk::NOTHING)
}

#[test]
fn unflushed_content_and_names_are_gone_and_with_all_luck_there() {
    let disk = disk(&[open("a"), write("a", b"abc")]);
    for model in [Model::Ordered, Model::Weak] {
        assert!(disk.after_cut(model, Disk::NOTHING).files.is_empty());
        assert_eq!(disk.after_cut(model, Disk::EVERYTHING).files[&path("a")], b"abc");
    }
}

#[test]
fn flushed_file_keeps_its_name_when_order_is_kept_and_only_then() {
    let changes = [open("a"), write("a", b"abc"), sync("a", 2)];
    assert_eq!(after_nothing_more(&changes, Model::Ordered).files[&path("a")], b"abc");
    assert!(after_nothing_more(&changes, Model::Weak).files.is_empty());
    let changes = [open("a"), write("a", b"abc"), sync("a", 2), sync("", 3)];
    assert_eq!(after_nothing_more(&changes, Model::Weak).files[&path("a")], b"abc");
}

#[test]
fn flush_covers_only_what_was_done_before_it_began() {
    let changes = [open("a"), sync("", 1), write("a", b"abc"), sync("a", 2)];
    assert_eq!(after_nothing_more(&changes, Model::Weak).files[&path("a")], b"");
}

#[test]
fn rename_between_folders_may_be_half_done_where_order_is_not_kept() {
    let changes = [
        Change::Mkdir { path: path("x") },
        Change::Mkdir { path: path("y") },
        sync("", 2),
        open("x/a"),
        sync("x", 4),
        rename("x/a", "y/a"),
        sync("y", 6),
    ];
    let left = after_nothing_more(&changes, Model::Weak);
    assert!(left.files.contains_key(&path("x/a")) && left.files.contains_key(&path("y/a")));
    let left = after_nothing_more(&changes, Model::Ordered);
    assert!(!left.files.contains_key(&path("x/a")) && left.files.contains_key(&path("y/a")));
}

#[test]
fn replaced_file_is_old_or_new_and_never_absent() {
    let changes = [
        open("a"),
        write("a", b"old"),
        sync("a", 2),
        sync("", 3),
        open("a.new"),
        write("a.new", b"new"),
        sync("a.new", 6),
        rename("a.new", "a"),
    ];
    let disk = disk(&changes);
    for seed in 0..200 {
        for model in [Model::Ordered, Model::Weak] {
            let left = disk.after_cut(model, seed);
            let content = &left.files[&path("a")];
            assert!(content == b"old" || content == b"new", "{content:?}");
        }
    }
}

#[test]
fn file_in_a_folder_that_was_not_flushed_is_out_of_reach() {
    let changes = [
        Change::Mkdir { path: path("x") },
        open("x/a"),
        sync("x/a", 2),
        sync("x", 3),
    ];
    assert!(after_nothing_more(&changes, Model::Weak).files.is_empty());
    assert!(
        after_nothing_more(&changes, Model::Ordered)
            .files
            .contains_key(&path("x/a"))
    );
}

#[test]
fn removed_file_may_come_back_until_its_folder_is_flushed() {
    let mut changes = vec![open("a"), sync("", 1), Change::Unlink { path: path("a") }];
    assert!(after_nothing_more(&changes, Model::Weak).files.contains_key(&path("a")));
    changes.push(sync("", 3));
    assert!(after_nothing_more(&changes, Model::Weak).files.is_empty());
}

#[test]
fn same_seed_leaves_the_same_state() {
    let disk = disk(&[open("a"), write("a", &[7; 4096]), open("b"), write("b", &[8; 4096])]);
    for seed in 0..50 {
        let print = || disk.after_cut(Model::Weak, seed).fingerprint();
        assert_eq!(print(), print());
    }
}
