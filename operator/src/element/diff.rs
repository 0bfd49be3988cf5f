//! Whether an object already says what is wanted. Pure.

use aws_lc_rs::digest;
use serde_json::Value;

use super::hex;
use crate::quantity;

/// The fields the API server rewrites in its own notation.
const QUANTITIES: [&str; 3] = ["limits", "requests", "sizeLimit"];
/// What tells the items of a list apart, in lists that others may add to.
const KEYS: [&str; 4] = ["name", "mountPath", "uid", "topologyKey"];

/// Whether `live` holds all that `desired` says. What others added beside it does not count.
pub(super) fn holds(desired: &Value, live: &Value) -> bool {
    compare(desired, live, false)
}

fn compare(desired: &Value, live: &Value, quantities: bool) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired.iter().all(|(field, wanted)| {
            let quantities = quantities || QUANTITIES.contains(&field.as_str());
            live.get(field)
                .map_or_else(|| is_empty(wanted), |found| compare(wanted, found, quantities))
        }),
        (Value::Array(desired), Value::Array(live)) => compare_lists(desired, live),
        (Value::String(desired), Value::String(live)) if quantities => desired == live || quantity::same(desired, live),
        _ => desired == live,
    }
}

/// Lists of named things are compared by name; others as they are, for applying them replaces them whole.
fn compare_lists(desired: &[Value], live: &[Value]) -> bool {
    let named = |item: &Value| {
        KEYS.iter()
            .find_map(|key| Some((*key, item.get(key)?.as_str()?.to_owned())))
    };
    if desired.iter().all(|item| named(item).is_some()) {
        return desired.iter().all(|wanted| {
            let name = named(wanted);
            live.iter()
                .any(|found| named(found) == name && compare(wanted, found, false))
        });
    }
    desired.len() == live.len()
        && desired
            .iter()
            .zip(live)
            .all(|(wanted, found)| compare(wanted, found, false))
}

/// What the API server leaves out. A number or a truth is never left out, whatever it is.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A hash of an object as it is wanted: another hash means that something is no longer wanted, or wanted anew.
pub(super) fn hash(desired: &Value) -> String {
    let mut hash = hex(digest::digest(&digest::SHA256, desired.to_string().as_bytes()).as_ref());
    hash.truncate(HASH_DIGITS);
    hash
}

/// 128 bits: more than enough to tell two versions apart.
const HASH_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::holds;

    #[test]
    fn what_others_added_does_not_count() {
        let desired =
            json!({"spec": {"replicas": 1, "containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}]}});
        let live = json!({
            "spec": {
                "replicas": 1,
                "paused": false,
                "containers": [{"name": "sidecar"}, {"name": "a", "image": "b", "env": [{"name": "X", "value": "1"}]}],
            },
            "status": {},
        });
        assert!(holds(&desired, &live));
    }

    #[test]
    fn changed_and_missing_fields_are_noticed() {
        let desired = json!({"a": 1, "list": ["x"], "named": [{"name": "n", "v": 1}]});
        for live in [
            json!({"a": 2, "list": ["x"], "named": [{"name": "n", "v": 1}]}),
            json!({"list": ["x"], "named": [{"name": "n", "v": 1}]}),
            json!({"a": 1, "list": ["x", "y"], "named": [{"name": "n", "v": 1}]}),
            json!({"a": 1, "list": ["x"], "named": [{"name": "n", "v": 2}]}),
            json!({"a": 1, "list": ["x"], "named": []}),
        ] {
            assert!(!holds(&desired, &live), "{live}");
        }
    }

    #[test]
    fn quantities_are_the_same_however_they_are_written_and_other_text_is_not() {
        let desired = json!({"requests": {"cpu": "0.5", "memory": "1024Mi"}, "value": "1000"});
        assert!(holds(
            &desired,
            &json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "value": "1000"})
        ));
        assert!(!holds(
            &desired,
            &json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "value": "1k"})
        ));
    }

    #[test]
    fn empty_fields_need_not_be_there() {
        assert!(holds(&json!({"a": {}, "b": [], "c": null, "d": ""}), &json!({})));
        assert!(holds(
            &json!({"tolerations": [{"key": "a", "operator": "Exists", "value": ""}]}),
            &json!({"tolerations": [{"key": "a", "operator": "Exists"}]})
        ));
        for desired in [json!({"a": false}), json!({"a": 0})] {
            assert!(!holds(&desired, &json!({})), "{desired}");
        }
    }
}
