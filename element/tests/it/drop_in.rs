//! Started over a folder that an older system wrote: every file of it is served.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::harness::Setup;

/// A file as this system writes it; its content is its number.
pub(crate) fn file(number: u32) -> Value {
    let id = uuid::Uuid::from_u128(u128::from(number));
    json!({
        "schema_version": "1.0",
        "file_id": id,
        "original_filename": format!("отчёт {number}.txt"),
        "storage_filename": format!("отчёт {number}_alice_20240506T070809_{id}.txt"),
        "storage_path": format!("2024/05/06/07/отчёт {number}_alice_20240506T070809_{id}.txt"),
        "file_size": number.to_string().len(),
        "content_type": "text/plain",
        "checksum": sha256(number.to_string().as_bytes()),
        "created_at": "2024-05-06T07:08:09Z",
        "updated_at": "2024-05-06T07:08:09Z",
        "created_by_id": "u-1",
        "created_by_username": "alice",
        "tags": [],
        "metadata": {},
        "retention_policy": "permanent",
        "revision": 1,
    })
}

/// The same file as an older system wrote it.
fn older(number: u32) -> Value {
    json!({
        "file_id": uuid::Uuid::from_u128(u128::from(number)),
        "original_filename": format!("отчёт {number}.txt"),
        "size": number.to_string().len(),
        "content_type": "text/plain",
        "checksum": sha256(number.to_string().as_bytes()),
        "uploaded_by": "alice",
        "uploaded_at": "2024-05-06T07:08:09.123456+00:00",
        "description": null,
        "custom_attributes": { "case": 17, "list": [1, 2], "none": null },
    })
}

fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Puts a file at the path it names.
pub(crate) fn write(root: &Path, file: &Value) {
    write_at(root, file["storage_path"].as_str().unwrap(), file);
}

fn write_at(root: &Path, path: &str, file: &Value) {
    let place = root.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    let number = uuid::Uuid::parse_str(file["file_id"].as_str().unwrap())
        .unwrap()
        .as_u128();
    fs::write(place, number.to_string()).unwrap();
    fs::write(root.join(format!("{path}.attr.json")), file.to_string()).unwrap();
}

/// Older shapes under every kind of name, as they may lie in such a folder.
fn older_folder(root: &Path) -> Vec<u32> {
    let long = "я".repeat(110);
    let names = [
        "2024/05/06/07/отчёт 1_alice_20240506T070809_00000000-0000-0000-0000-000000000001.txt".to_owned(),
        "2024/05/06/07/plain".to_owned(),
        "2024/05/06/07/no extension_00000000-0000-0000-0000-000000000003".to_owned(),
        "2024/05/06/07/00000000-0000-0000-0000-000000000004_front.pdf".to_owned(),
        "2024/05/a folder deeper/than/ours/names its files/x.y.z".to_owned(),
        "2024/directly in the year".to_owned(),
        format!("2024/05/06/07/{long}"),
        "2024/05/06/07/it's \"quoted\" & <tagged>".to_owned(),
    ];
    let mut numbers = Vec::new();
    for (number, name) in (1..).zip(&names) {
        let mut file = older(number);
        if number == 2 {
            // Times without an offset, and the names of today beside those of old.
            file["uploaded_at"] = "2024-05-06T07:08:09.123456".into();
            file["file_size"] = file["size"].clone();
        }
        write_at(root, name, &file);
        numbers.push(number);
    }
    write(root, &self::file(100));
    numbers.push(100);
    numbers
}

#[tokio::test]
async fn folder_of_an_older_system_is_served_whole() {
    for setup in Setup::both().await {
        let numbers = older_folder(&setup.root());
        let element = setup.start().await;
        assert_eq!(element.client.json("/info").await["files"], numbers.len());
        for number in numbers {
            let path = format!("/files/{}", uuid::Uuid::from_u128(u128::from(number)));
            let content = element.client.get(&path).await.expect(200);
            assert_eq!(content.body, number.to_string().as_bytes());
            let metadata = element.client.json(&format!("{path}/metadata")).await;
            assert_eq!(metadata["original_filename"], format!("отчёт {number}.txt"));
            assert_eq!(metadata["created_by_username"], "alice");
            assert_eq!(metadata["checksum"], sha256(number.to_string().as_bytes()));
            assert_eq!(
                (&metadata["schema_version"], &metadata["revision"]),
                (&json!("1.0"), &json!(1))
            );
            if number < 100 {
                assert_eq!(metadata["created_at"], "2024-05-06T07:08:09.123456Z");
                assert_eq!(metadata["metadata"], json!({ "case": 17, "list": "[1,2]" }));
            }
        }
        let found = element
            .client
            .json("/files/search?q=отчёт&uploaded_by=alice&metadata.case=17")
            .await;
        assert_eq!(found["total"], 8);
        let task = crate::maintenance::task(&element, "scrub").await;
        assert_eq!(task["result"]["counts"], json!({}), "{task}");
        element.stop().await;
    }
}

#[tokio::test]
async fn file_of_an_older_system_is_changed_and_deleted_as_any_other() {
    let setup = Setup::embedded();
    older_folder(&setup.root());
    let element = setup.start().await;
    let path = format!("/files/{}", uuid::Uuid::from_u128(5));
    let patch = element.client.by("user", "PATCH", &format!("{path}/metadata"));
    let changed = crate::harness::client::send(patch.json(&json!({ "description": "new" })))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&changed["revision"], &changed["uploaded_by"]),
        (&json!(2), &Value::Null)
    );
    element.stop().await;
    let element = setup.start().await;
    assert_eq!(element.client.json(&format!("{path}/metadata")).await, changed);
    assert_eq!(element.client.get(&path).await.expect(200).body, b"5");
    let before = element.files_on_disk().len();
    crate::harness::client::send(element.client.by("admin", "DELETE", &path))
        .await
        .expect(204);
    assert_eq!(element.files_on_disk().len(), before - 2);
    element.stop().await;
}

#[tokio::test]
async fn older_names_are_found_while_the_database_is_away() {
    let mut setup = Setup::postgres().await;
    let numbers = older_folder(&setup.root());
    let wire =
        crate::harness::proxy::Proxy::to(format!("{}:{}", setup.get("DB_HOST"), setup.get("DB_PORT")), true).await;
    setup.set("DB_HOST", "127.0.0.1");
    setup.set("DB_PORT", &wire.address.port().to_string());
    let element = setup.start().await;
    wire.cut();
    for number in numbers {
        let path = format!("/files/{}", uuid::Uuid::from_u128(u128::from(number)));
        assert_eq!(
            element.client.get(&path).await.expect(200).body,
            number.to_string().as_bytes()
        );
    }
    let unknown = format!("/files/{}", uuid::Uuid::from_u128(99));
    element.client.get(&unknown).await.expect_problem(404, "NOT_FOUND");
    wire.mend();
}
