//! The fields of a form as clients write them, and whatever else they may send.

use element_api::{MetadataValue, RetentionPolicy};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Map, Number, Value};

use super::Form;

fn set(name: &str, text: &str) -> Result<Form, String> {
    let mut form = Form::default();
    form.set(name, text.to_owned()).map_err(|error| format!("{error:?}"))?;
    Ok(form)
}

#[test]
fn fields_are_read_as_clients_write_them() {
    assert_eq!(set("tags", "a, b,,c").unwrap().details.tags, ["a", "b", "c"]);
    assert_eq!(set("tags", "[\"a, b\",\"c\"]").unwrap().details.tags, ["a, b", "c"]);
    assert_eq!(set("description", "").unwrap().details.description, None);
    assert_eq!(set("ttl_days", " 30 ").unwrap().details.ttl_days, Some(30));
    assert_eq!(
        set("retention_policy", "temporary").unwrap().details.retention_policy,
        RetentionPolicy::Temporary
    );
    let metadata = set("metadata", r#"{"a":"x","b":1.5,"c":true}"#)
        .unwrap()
        .details
        .metadata;
    assert_eq!(metadata.get("a"), Some(&MetadataValue::Text("x".to_owned())));
    assert_eq!(metadata.get("c"), Some(&MetadataValue::Bool(true)));
    assert_eq!(
        set("checksum", &"AB".repeat(32)).unwrap().details.checksum,
        Some("ab".repeat(32))
    );
}

#[test]
fn malformed_fields_are_refused_by_name() {
    for (name, text) in [
        ("tags", "[1]"),
        ("tags", "[\"a\""),
        ("metadata", "x"),
        ("metadata", "[]"),
        ("metadata", r#"{"a":{}}"#),
        ("metadata", r#"{"a":[1]}"#),
        ("metadata", r#"{"a":null}"#),
        ("file_id", "7"),
        ("retention_policy", "forever"),
        ("ttl_days", "-1"),
        ("ttl_days", "ten"),
        ("checksum", "abc"),
    ] {
        let error = set(name, text).err().unwrap();
        assert!(error.contains(name), "{name} {text}: {error}");
    }
}

/// A value metadata may hold, as JSON.
fn plain() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |number| Number::from_f64(number).map(Value::from)),
        "\\PC{0,12}|(?s).{0,12}".prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn tags_are_read_back_from_either_form(words in vec("[a-zа-я0-9 ._-]{0,10}", 0..8), any_tags in vec("(?s).{0,12}", 0..8)) {
        let mut listed = words.join(",");
        // A list that begins like an array is taken for one; none of these do.
        listed.push(' ');
        let expected: Vec<&str> = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).collect();
        prop_assert_eq!(set("tags", &listed).unwrap().details.tags, expected);
        let array = format!(" {}", Value::from(any_tags.clone()));
        prop_assert_eq!(set("tags", &array).unwrap().details.tags, any_tags);
    }

    #[test]
    fn any_tags_are_words_or_refused(text in "[\\[\\]{},\"a \\\\]{0,20}|(?s).{0,40}") {
        match set("tags", &text) {
            Ok(form) if !text.trim_start().starts_with('[') => {
                let bad = |tag: &String| tag.is_empty() || tag.trim() != tag || tag.contains(',');
                prop_assert!(!form.details.tags.iter().any(bad), "{:?}", form.details.tags);
            }
            Ok(_) => {}
            Err(said) => prop_assert!(said.contains("ValidationError") && said.contains("tags"), "{said}"),
        }
    }

    #[test]
    fn plain_metadata_is_read_back(entries in btree_map("(?s).{0,8}", plain(), 0..6)) {
        let object = Value::Object(entries.clone().into_iter().collect::<Map<_, _>>());
        let read = set("metadata", &object.to_string()).unwrap().details.metadata;
        prop_assert_eq!(serde_json::to_value(read).unwrap(), object);
    }

    #[test]
    fn any_metadata_is_a_flat_object_or_refused(text in "[\\[\\]{}:,\"a1 ntrue.-]{0,24}|(?s).{0,40}") {
        match set("metadata", &text) {
            Ok(form) => {
                let parsed: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(parsed.as_object().unwrap().len(), form.details.metadata.len());
            }
            Err(said) => prop_assert!(said.contains("ValidationError") && said.contains("metadata"), "{said}"),
        }
    }

    #[test]
    fn checksum_is_64_hex_digits_in_lower_case_or_refused(text in " ?[0-9a-fA-F]{62,66} ?|[0-9a-fA-F]{63}[g-zé\\PC]|(?s).{0,70}") {
        let trimmed = text.trim();
        let is_one = trimmed.len() == 64 && trimmed.chars().all(|letter| letter.is_ascii_hexdigit());
        let read = set("checksum", &text).ok().map(|form| form.details.checksum);
        prop_assert_eq!(read, is_one.then(|| Some(trimmed.to_lowercase())));
    }

    #[test]
    fn any_number_field_is_a_number_or_refused(name in "file_id|ttl_days|retention_policy", text in "[0-9a-f-]{0,40}|(?s).{0,20}") {
        if let Err(said) = set(&name, &text) {
            prop_assert!(said.contains("ValidationError") && said.contains(&name), "{said}");
        }
    }
}
