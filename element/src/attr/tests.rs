use std::collections::BTreeMap;

use element_api::{FileMetadata, MetadataValue, RetentionPolicy};
use proptest::prelude::*;
use uuid::Uuid;

use super::{AttrError, MAX_BYTES, decode, encode};

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
fn todays_name_wins_over_the_older_one() {
    let mut document = serde_json::to_value(sample()).unwrap();
    document["size"] = 99.into();
    assert_eq!(decode(document.to_string().as_bytes(), PATH).unwrap().file_size, 12);
}

#[test]
fn document_above_the_limit_is_refused_with_its_size() {
    let mut metadata = sample();
    metadata.description = Some("x".repeat(MAX_BYTES));
    let Err(AttrError::TooLarge { size }) = encode(&metadata) else {
        panic!("accepted")
    };
    assert!(size > MAX_BYTES);
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

    #[test]
    fn no_bytes_make_decode_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, PATH);
    }
}
