//! `fsck`: what it prints, and the exit codes scripts go by.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Setup;

/// Runs fsck; its code, the lines of its standard output, and its standard error.
async fn fsck(setup: &Setup, flags: &[&str]) -> (i32, Vec<String>, String) {
    let words: Vec<&str> = ["fsck"].iter().chain(flags).copied().collect();
    let (code, stdout, stderr) = setup.run(&words).await;
    (code, stdout.lines().map(str::to_owned).collect(), stderr)
}

#[tokio::test]
async fn clean_folder_is_told_so_and_a_damaged_one_is_repaired() {
    for setup in Setup::both().await {
        let element = setup.start().await;
        element.client.store("a", b"whole").await;
        let damaged = element.client.store("b", b"damaged").await;
        let path = damaged["storage_path"].as_str().unwrap();
        element.stop().await;
        let clean = "checked 2 files, 12 bytes and 2 rows: 0 findings, 0 repaired".to_owned();
        assert_eq!(fsck(&setup, &[]).await, (0, vec![clean], String::new()));

        fs::write(setup.root().join(path), b"demaged").unwrap();
        fs::write(setup.root().join(".artstore/tmp/left"), b"x").unwrap();
        let (code, lines, stderr) = fsck(&setup, &[]).await;
        assert_eq!((code, lines.len()), (1, 3), "{lines:?} {stderr}");
        assert!(
            lines[0].starts_with("temporary_file \".artstore/tmp/left\": "),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with(&format!("content_corrupt {path:?}: sha256 ")),
            "{lines:?}"
        );
        assert!(setup.root().join(path).exists(), "without --repair nothing changes");

        assert_eq!(fsck(&setup, &["--quick"]).await.0, 1, "the temporary file");
        let (code, lines, stderr) = fsck(&setup, &["--repair", "--json"]).await;
        assert_eq!(code, 1, "{lines:?} {stderr}");
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[1]["path"], &lines[1]["repaired"]), (&json!(path), &json!(true)));
        let counts = json!({ "content_corrupt": 1, "temporary_file": 1 });
        assert_eq!(
            (&lines[2]["summary"]["counts"], &lines[2]["summary"]["repaired"]),
            (&counts, &json!(2))
        );
        assert_eq!(fsck(&setup, &[]).await.0, 0);

        let element = setup.start().await;
        assert_eq!(element.client.json("/info").await["files"], 1);
        element.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_repaired_is_told_by_the_code() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = element.client.store("a", b"content").await;
    element.stop().await;
    fs::remove_file(setup.root().join(file["storage_path"].as_str().unwrap())).unwrap();
    assert_eq!(fsck(&setup, &[]).await.0, 1);
    let (code, lines, _) = fsck(&setup, &["--repair"]).await;
    assert_eq!(code, 4, "{lines:?}");
    assert!(lines[0].starts_with("content_missing "), "{lines:?}");
}

#[tokio::test]
async fn repair_of_an_archive_keeps_everything() {
    let mut setup = Setup::embedded();
    let element = setup.start().await;
    let damaged = element.client.store("b", b"damaged").await;
    element.stop().await;
    let path = setup.root().join(damaged["storage_path"].as_str().unwrap());
    fs::write(&path, b"demaged").unwrap();
    fs::remove_file(setup.root().join(".artstore/mode.json")).unwrap();
    setup.set("APP_MODE", "ar");
    setup.start().await.stop().await;
    let (code, lines, _) = fsck(&setup, &["--repair"]).await;
    assert_eq!(code, 4, "{lines:?}");
    assert!(lines[0].starts_with("content_corrupt "), "{lines:?}");
    let element = setup.start().await;
    let file = format!("/files/{}/metadata", damaged["file_id"].as_str().unwrap());
    assert_eq!(element.client.json(&file).await, damaged);
    assert!(path.exists());
    element.stop().await;
}

#[tokio::test]
async fn killed_server_leaves_nothing_that_fsck_cannot_repair() {
    for setup in Setup::both().await {
        let mut element = setup.start().await;
        let file = element.client.store("a", b"content").await;
        element.signal(rustix::process::Signal::KILL);
        element.wait_exit().await;
        let (code, lines, stderr) = fsck(&setup, &["--repair"]).await;
        assert!(code <= 1, "{lines:?} {stderr}");
        assert_eq!(fsck(&setup, &[]).await.0, 0);
        let element = setup.start().await;
        let path = format!("/files/{}", file["file_id"].as_str().unwrap());
        assert_eq!(element.client.get(&path).await.expect(200).body, b"content");
        element.stop().await;
    }
}

#[tokio::test]
async fn bucket_is_checked_once_no_server_runs() {
    let setup = Setup::bucket().await;
    let element = setup.start().await;
    element.client.store("a", b"content").await;
    let (code, _, stderr) = fsck(&setup, &[]).await;
    assert!(code == 8 && stderr.contains("is running"), "{code} {stderr}");
    element.stop().await;
    let (code, lines, stderr) = fsck(&setup, &["--repair"]).await;
    assert_eq!(code, 0, "{lines:?} {stderr}");
}

#[tokio::test]
async fn check_that_cannot_be_made_has_a_code_of_its_own() {
    let mut setup = Setup::embedded();
    let (code, lines, stderr) = fsck(&setup, &[]).await;
    assert_eq!((code, lines.len()), (8, 0), "{stderr}");
    assert!(stderr.contains("STORAGE_LOCAL_BASE_PATH"), "{stderr}");
    assert!(!setup.root().exists(), "it makes no folder");
    let element = setup.start().await;
    let (code, _, stderr) = fsck(&setup, &[]).await;
    assert!(
        code == 8 && stderr.contains("another element is using"),
        "{code} {stderr}"
    );
    element.stop().await;
    setup.set("DB_PORT", "5432");
    let (code, _, stderr) = fsck(&setup, &[]).await;
    assert!(code == 2 && stderr.contains("DB_PORT"), "{code} {stderr}");
}
