//! Every name the operator gives: ids, databases, prefixes, children, labels, annotations. Pure.

use std::collections::BTreeMap;

/// The field manager of everything the operator writes, and the value of `managed-by`.
pub const MANAGER: &str = "artstore-operator";
/// Keeps an element until what it leaves behind is settled.
pub const FINALIZER: &str = "artstore.dev/element";
/// `"true"` lifts a finalizer that is blocked.
pub const FORCE_FINALIZE: &str = "artstore.dev/force-finalize";
/// On a child: the hash of what was last applied, so that a field that is no longer wanted is noticed.
pub const APPLIED: &str = "artstore.dev/applied";
/// On a pod: a keyed hash of the secrets it read at its start.
pub const SECRETS: &str = "artstore.dev/secrets";

/// The label that names the tool in charge.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that names the element.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label that names the application.
pub const APPLICATION: &str = "app.kubernetes.io/name";
/// The label with the version, on pods.
pub const VERSION: &str = "app.kubernetes.io/version";

/// What an element's own name usually begins with; not part of its id.
const ELEMENT_PREFIX: &str = "storage-";

/// The Secret with the database's user and password.
pub fn database_secret(element: &str) -> String {
    format!("{element}-db")
}

/// The Secret with the token the operator shows to the element.
pub fn admin_secret(element: &str) -> String {
    format!("{element}-admin")
}

/// The ConfigMap with the mode.
pub fn config(element: &str) -> String {
    format!("{element}-config")
}

/// The PersistentVolumeClaim with the files.
pub fn volume(element: &str) -> String {
    format!("{element}-data")
}

/// The id of an element that names none: its name, less a leading `storage-`.
pub fn element_id(element: &str) -> &str {
    element
        .strip_prefix(ELEMENT_PREFIX)
        .filter(|id| !id.is_empty())
        .unwrap_or(element)
}

/// The database of an element that names none, and always the name of its role.
pub fn database(id: &str) -> String {
    format!("artstore_storage_{}", identifier(id))
}

/// The table prefix of an element that names none.
pub fn table_prefix(id: &str) -> String {
    format!("storage_elem_{}_", identifier(id))
}

fn identifier(id: &str) -> String {
    id.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect()
}

/// What selects an element's pods. Never changes: a Deployment's selector cannot.
pub fn selector(element: &str) -> BTreeMap<String, String> {
    [(APPLICATION, "artstore-element"), (INSTANCE, element)]
        .map(owned)
        .into()
}

/// The labels of every child.
pub fn labels(element: &str, fleet: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = selector(element);
    labels.extend(
        [
            ("app.kubernetes.io/component", "element"),
            ("app.kubernetes.io/part-of", fleet.unwrap_or("artstore")),
            (MANAGED_BY, MANAGER),
        ]
        .map(owned),
    );
    labels
}

/// The selector as kubectl writes it.
pub fn selector_text(element: &str) -> String {
    selector(element)
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// Whether these are the labels of a child of `element` that the operator made.
pub fn is_child_of(labels: &BTreeMap<String, String>, element: &str) -> bool {
    labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
        && labels.get(INSTANCE).is_some_and(|instance| instance == element)
}

/// The host name of an element's Service.
pub fn service_host(namespace: &str, element: &str) -> String {
    format!("{element}.{namespace}.svc")
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{database, element_id, is_child_of, labels, table_prefix};

    #[test]
    fn names_follow_the_contract() {
        for (name, id, expected_database, expected_prefix) in [
            ("storage-01", "01", "artstore_storage_01", "storage_elem_01_"),
            (
                "storage-north-2",
                "north-2",
                "artstore_storage_north_2",
                "storage_elem_north_2_",
            ),
            (
                "archive",
                "archive",
                "artstore_storage_archive",
                "storage_elem_archive_",
            ),
            (
                "storage",
                "storage",
                "artstore_storage_storage",
                "storage_elem_storage_",
            ),
        ] {
            assert_eq!(element_id(name), id);
            assert_eq!(database(element_id(name)), expected_database);
            assert_eq!(table_prefix(element_id(name)), expected_prefix);
        }
    }

    #[test]
    fn longest_id_gives_valid_identifiers() {
        let id = "x".repeat(20);
        assert!(database(&id).len() <= 63);
        assert!(table_prefix(&id).len() <= 34);
    }

    #[test]
    fn labels_of_another_element_are_not_a_child_s() {
        let labels = labels("storage-01", Some("main"));
        assert!(is_child_of(&labels, "storage-01"));
        assert!(!is_child_of(&labels, "storage-02"));
    }
}
