use std::collections::BTreeMap;

use element_api::{FileMetadata, MetadataValue, RetentionPolicy};
use proptest::prelude::*;
use uuid::Uuid;

use super::{AttrError, MAX_BYTES, NAMES, decode, encode, replace};

const PATH: &str = "2024/05/06/07/report_alice_20240506T070809_0190.pdf";

fn sample() -> FileMetadata {
    FileMetadata {
        schema_version: "1.0".into(),
        file_id: Uuid::from_u128(7),
        original_filename: "отчёт.pdf".into(),
        storage_filename: PATH.rsplit('/').next().unwrap().into(),
        storage_path: PATH.into(),
        file_size: 12,
        content_type: "application/pdf".into(),
        checksum: "ab".repeat(32),
        created_at: "2024-05-06T07:08:09.123456Z".parse().unwrap(),
        updated_at: "2024-05-06T07:08:09.123456Z".parse().unwrap(),
        created_by_id: "u1".into(),
        created_by_username: "alice".into(),
        created_by_fullname: None,
        description: Some("d".into()),
        version: None,
        tags: vec!["a".into()],
        metadata: BTreeMap::new(),
        retention_policy: RetentionPolicy::Temporary,
        ttl_days: Some(3),
        expires_at: Some("2024-05-09T07:08:09.123456Z".parse().unwrap()),
        revision: 4,
    }
}

#[test]
fn older_shape_is_read_field_by_field() {
    let old = serde_json::json!({
        "file_id": "00000000-0000-0000-0000-000000000007",
        "original_filename": "a.pdf",
        "size": 12,
        "uploaded_by": "alice",
        "uploaded_at": "2024-05-06T07:08:09+00:00",
        "custom_attributes": {"case": 17},
        "checksum": "ab",
        "content_type": "application/pdf",
        "description": null,
    });
    let metadata = decode(old.to_string().as_bytes(), PATH).unwrap();
    assert_eq!(metadata.file_size, 12);
    assert_eq!(metadata.created_by_username, "alice");
    assert_eq!(metadata.created_by_id, "alice");
    assert_eq!(metadata.updated_at, metadata.created_at);
    assert_eq!(metadata.metadata["case"], MetadataValue::Number(17.into()));
    assert_eq!(metadata.storage_path, PATH);
    assert_eq!(metadata.schema_version, "1.0");
    assert_eq!(metadata.checksum, "ab");
    assert_eq!(metadata.revision, 1);
}

#[test]
fn strange_members_outlive_a_change_and_older_names_do_not() {
    let mut full = sample();
    full.created_by_fullname = Some("Alice".into());
    full.version = Some("1".into());
    let mut old = serde_json::to_value(&full).unwrap();
    let own: Vec<&str> = old.as_object().unwrap().keys().map(String::as_str).collect();
    let mut known = NAMES.to_vec();
    known.sort_unstable();
    assert_eq!(own, known);
    old["colour"] = "blue".into();
    old["scanned"] = serde_json::json!({ "by": ["x", 1] });
    old["size"] = 12.into();
    let mut changed = full;
    changed.description = None;
    let bytes = replace(old.to_string().as_bytes(), &changed).unwrap();
    let new: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&new["colour"], &new["scanned"]), (&old["colour"], &old["scanned"]));
    assert!(new.get("size").is_none() && new.get("description").is_none());
    assert_eq!(decode(&bytes, PATH).unwrap(), changed);
    old["colour"] = "b".repeat(MAX_BYTES).into();
    assert!(matches!(
        replace(old.to_string().as_bytes(), &changed),
        Err(AttrError::TooLarge { .. })
    ));
}

#[test]
fn older_times_without_an_offset_are_utc() {
    for (text, expected) in [
        ("2024-05-06T07:08:09.123456", "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06 07:08:09", "2024-05-06T07:08:09Z"),
        ("2024-05-06T09:08:09+02:00", "2024-05-06T07:08:09Z"),
    ] {
        let mut old = serde_json::to_value(sample()).unwrap();
        old["created_at"] = text.into();
        old["expires_at"] = text.into();
        let metadata = decode(old.to_string().as_bytes(), PATH).unwrap();
        assert_eq!(metadata.created_at, expected.parse().unwrap(), "{text}");
        assert_eq!(metadata.expires_at, Some(metadata.created_at));
    }
}

#[test]
fn older_values_that_are_no_plain_values_become_text() {
    let mut old = serde_json::to_value(sample()).unwrap();
    old["metadata"] = serde_json::Value::Null;
    old["custom_attributes"] = serde_json::json!({"list": [1, "a"], "none": null, "flag": true});
    let metadata = decode(old.to_string().as_bytes(), PATH).unwrap().metadata;
    assert_eq!(metadata["list"], MetadataValue::Text("[1,\"a\"]".into()));
    assert_eq!(metadata["flag"], MetadataValue::Bool(true));
    assert_eq!(metadata.len(), 2);
}

#[test]
fn older_checksum_in_upper_case_is_read_in_lower_case_and_what_is_no_hex_stays() {
    for (text, expected) in [
        ("AB".repeat(32), "ab".repeat(32)),
        ("aB0f".to_owned(), "ab0f".to_owned()),
        ("sha256:AB".to_owned(), "sha256:AB".to_owned()),
        (String::new(), String::new()),
    ] {
        let mut old = serde_json::to_value(sample()).unwrap();
        old["checksum"] = text.into();
        assert_eq!(decode(old.to_string().as_bytes(), PATH).unwrap().checksum, expected);
    }
}

#[test]
fn todays_name_wins_over_the_older_one() {
    let mut document = serde_json::to_value(sample()).unwrap();
    document["size"] = 99.into();
    assert_eq!(decode(document.to_string().as_bytes(), PATH).unwrap().file_size, 12);
}

#[test]
fn document_above_the_limit_is_refused_with_its_size() {
    let mut metadata = sample();
    metadata.description = Some(String::new());
    let room = MAX_BYTES - encode(&metadata).unwrap().len();
    metadata.description = Some("x".repeat(room));
    assert_eq!(encode(&metadata).unwrap().len(), MAX_BYTES);
    metadata.description = Some("x".repeat(room + 1));
    let Err(AttrError::TooLarge { size }) = encode(&metadata) else {
        panic!("accepted")
    };
    assert_eq!(size, MAX_BYTES + 1);
}

#[test]
fn bytes_that_are_no_metadata_are_refused() {
    for bytes in [&b""[..], b"{", b"[]", b"{}", b"\"text\"", b"\xff\xff"] {
        assert!(decode(bytes, PATH).is_err(), "{bytes:?}");
    }
}

fn value() -> impl Strategy<Value = MetadataValue> {
    prop_oneof![
        any::<bool>().prop_map(MetadataValue::Bool),
        any::<i64>().prop_map(|number| MetadataValue::Number(number.into())),
        any::<f64>().prop_filter_map("finite", |number| serde_json::Number::from_f64(number)
            .map(MetadataValue::Number)),
        ".{0,20}".prop_map(MetadataValue::Text),
    ]
}

/// A value of a field: what belongs there, or anything else.
fn field() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        "00000000-0000-0000-0000-00000000000[0-9]",
        "20[0-9]{2}-0[1-9]-[0-2][1-9][T ][01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+00:00|-0[0-9]:30)?",
        "[0-9a-fA-F]{1,64}",
        "permanent|temporary|forever",
        "\\PC{0,12}",
    ];
    let plain = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        (0_u32..400).prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        text.prop_map(serde_json::Value::from),
    ];
    plain.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-z]{0,4}", inner, 0..3).prop_map(|members| serde_json::json!(members)),
        ]
    })
}

/// A document of an older system or of today, with some of its fields as they should not be.
fn document() -> impl Strategy<Value = serde_json::Value> {
    let names = prop::sample::select(vec![
        "size",
        "uploaded_at",
        "uploaded_by",
        "custom_attributes",
        "schema_version",
        "file_id",
        "original_filename",
        "storage_path",
        "file_size",
        "content_type",
        "checksum",
        "created_at",
        "updated_at",
        "created_by_id",
        "created_by_username",
        "created_by_fullname",
        "description",
        "version",
        "tags",
        "metadata",
        "retention_policy",
        "ttl_days",
        "expires_at",
        "revision",
        "unknown",
    ]);
    let is_old = any::<bool>();
    (is_old, prop::collection::vec((names, field()), 0..4)).prop_map(|(is_old, changes)| {
        let mut document = serde_json::to_value(sample()).unwrap();
        let members = document.as_object_mut().unwrap();
        if is_old {
            for (new, old) in [
                ("file_size", "size"),
                ("created_at", "uploaded_at"),
                ("created_by_username", "uploaded_by"),
                ("metadata", "custom_attributes"),
            ] {
                let value = members.remove(new).unwrap();
                members.insert(old.to_owned(), value);
            }
            members.retain(|name, _| {
                !matches!(
                    name.as_str(),
                    "schema_version" | "updated_at" | "created_by_id" | "revision"
                )
            });
        }
        members.extend(changes.into_iter().map(|(name, value)| (name.to_owned(), value)));
        document
    })
}

proptest! {
    #[test]
    fn encode_then_decode_gives_the_same_metadata(
        name in ".{0,60}",
        tags in prop::collection::vec(".{0,12}", 0..6),
        metadata in prop::collection::btree_map("[a-z]{1,8}", value(), 0..6),
        microseconds in 0_i64..4_000_000_000_000_000,
    ) {
        let mut document = sample();
        document.original_filename = name;
        document.tags = tags;
        document.metadata = metadata;
        document.created_at = jiff::Timestamp::from_microsecond(microseconds).unwrap();
        let decoded = decode(&encode(&document).unwrap(), PATH).unwrap();
        prop_assert_eq!(decoded, document);
    }

    /// Whatever names and values an older system wrote: what is read is whole, and reads the same once it is written anew.
    #[test]
    fn documents_of_old_and_new_names_are_read_alike_ever_after(document in document()) {
        let Ok(read) = decode(document.to_string().as_bytes(), PATH) else { return Ok(()) };
        prop_assert_eq!(&read.storage_path, PATH);
        prop_assert_eq!(&read.storage_filename, PATH.rsplit('/').next().unwrap());
        let is_hex = read.checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
        prop_assert!(!is_hex || read.checksum == read.checksum.to_ascii_lowercase());
        let written = serde_json::to_vec(&read).unwrap();
        prop_assert_eq!(decode(&written, PATH).unwrap(), read);
    }

    #[test]
    fn no_bytes_make_decode_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, PATH);
    }
}
