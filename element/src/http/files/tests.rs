//! Patches as clients write them, and whatever else they may send.

use element_api::MetadataValue;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use super::patch;

#[test]
fn patch_tells_absent_null_and_value_apart() {
    let read = patch(json!({ "description": null, "version": "2", "metadata": { "a": null, "b": 1 } })).unwrap();
    assert_eq!(read.description, Some(None));
    assert_eq!(read.version, Some(Some("2".to_owned())));
    assert_eq!(read.tags, None);
    let metadata = read.metadata.unwrap();
    assert_eq!(metadata.get("a"), Some(&None));
    assert_eq!(metadata.get("b"), Some(&Some(MetadataValue::Number(1.into()))));
    assert!(!read.replace_metadata);
    let cleared = patch(json!({ "tags": null, "metadata": null })).unwrap();
    assert_eq!(
        (cleared.tags, cleared.metadata, cleared.replace_metadata),
        (Some(Vec::new()), None, true)
    );
}

#[test]
fn patch_of_anything_else_is_refused() {
    for document in [
        json!([]),
        json!("x"),
        json!({ "file_size": 1 }),
        json!({ "revision": 2 }),
        json!({ "description": 1 }),
        json!({ "tags": "a" }),
        json!({ "tags": [1] }),
        json!({ "metadata": [] }),
        json!({ "metadata": { "a": {} } }),
    ] {
        assert!(patch(document.clone()).is_err(), "{document}");
    }
}

/// Any JSON, not too deep.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let names = prop_oneof!["description", "version", "tags", "metadata", "[a-z_]{0,8}"];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(names.clone(), inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn patch_of_what_may_be_changed_is_read_exactly(
        description in option::of(option::of("(?s).{0,12}")),
        tags in option::of(vec("(?s).{0,6}", 0..4)),
        metadata in option::of(btree_map("(?s).{0,6}", option::of(any::<i64>()), 0..4)),
    ) {
        let mut document = json!({});
        if let Some(text) = &description {
            document["description"] = json!(text);
        }
        if let Some(tags) = &tags {
            document["tags"] = json!(tags);
        }
        if let Some(values) = &metadata {
            document["metadata"] = json!(values);
        }
        let read = patch(document).unwrap();
        let values = metadata.map(|values| {
            let number = |number: i64| MetadataValue::Number(number.into());
            values.into_iter().map(|(key, value)| (key, value.map(number))).collect()
        });
        prop_assert_eq!((read.description, read.tags, read.metadata), (description, tags, values));
        prop_assert!(read.version.is_none() && !read.replace_metadata);
    }

    /// Whatever is taken names nothing but what may be changed, and holds nothing but what metadata may.
    #[test]
    fn any_document_is_a_patch_or_refused(document in document()) {
        match patch(document.clone()) {
            Ok(read) => {
                let members = document.as_object().unwrap();
                let names = ["description", "version", "tags", "metadata"];
                prop_assert!(members.keys().all(|name| names.contains(&name.as_str())), "{document}");
                let (given, read) = (members.get("metadata").and_then(Value::as_object), read.metadata);
                prop_assert_eq!(given.map(|given| given.len()), read.as_ref().map(|read| read.len()));
                prop_assert!(given.is_none_or(|given| !given.values().any(|value| value.is_array() || value.is_object())));
            }
            Err(error) => {
                let said = format!("{error:?}");
                prop_assert!(said.contains("ValidationError"), "{said}");
            }
        }
    }
}
