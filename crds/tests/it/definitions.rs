//! The generated YAML: in step with the types, and small enough.

use std::path::Path;

/// Well below etcd's and `kubectl apply`'s limits.
const LARGEST: usize = 64 * 1024;

#[test]
fn generated_yaml_is_in_step_with_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    let mut expected = Vec::new();
    for definition in artstore_crds::definitions().unwrap() {
        let name = artstore_crds::file_name(&definition);
        let stored = std::fs::read_to_string(folder.join(&name)).unwrap();
        let generated = artstore_crds::render(&definition).unwrap();
        assert!(stored == generated, "{name} is out of step: run `make crds`");
        expected.push(name);
    }
    let mut present: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    present.sort();
    expected.sort();
    assert_eq!(present, expected);
}

#[test]
fn each_definition_is_under_64_kib() {
    for definition in artstore_crds::definitions().unwrap() {
        let yaml = artstore_crds::render(&definition).unwrap().len();
        let json = serde_json::to_vec(&definition).unwrap().len();
        assert!(
            yaml < LARGEST && json < LARGEST,
            "{:?}: {yaml} and {json}",
            definition.metadata.name
        );
    }
}

#[test]
fn no_list_item_has_a_default() {
    fn check(value: &serde_json::Value, in_list: bool) {
        match value {
            serde_json::Value::Object(fields) => {
                let schema = fields.contains_key("type") && fields.get("type").is_some_and(|kind| kind.is_string());
                assert!(!(schema && in_list && fields.contains_key("default")), "{value}");
                for (key, inner) in fields {
                    check(inner, in_list || key == "items");
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| check(item, in_list)),
            _ => {}
        }
    }
    for definition in artstore_crds::definitions().unwrap() {
        check(&serde_json::to_value(definition).unwrap(), false);
    }
}
