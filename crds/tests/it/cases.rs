//! For every CEL rule, one change it admits and one it refuses.

use serde_json::{Value, json};

/// A request the API server decides on.
pub(crate) enum Request {
    /// A new object.
    Create(Value),
    /// A change of an object that is there.
    Update {
        /// The object before.
        from: Value,
        /// The object after.
        to: Value,
    },
}

/// One rule.
pub(crate) struct Case {
    /// The rule's message.
    pub(crate) rule: &'static str,
    pub(crate) admitted: Request,
    pub(crate) refused: Request,
}

/// A StorageElement of this name with `spec` merged over a minimal one.
pub(crate) fn element(name: &str, spec: Value) -> Value {
    let mut base = json!({"fleetRef": {"name": "main"}, "storage": {"local": {"size": "10Gi"}}});
    merge(&mut base, spec);
    json!({"apiVersion": "artstore.dev/v1alpha1", "kind": "StorageElement", "metadata": {"name": name}, "spec": base})
}

fn fleet(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "artstore.dev/v1alpha1", "kind": "StorageFleet", "metadata": {"name": name}, "spec": spec})
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}

fn create(object: Value) -> Request {
    Request::Create(object)
}

fn update(from: Value, to: Value) -> Request {
    Request::Update { from, to }
}

fn change(from: Value, to: Value) -> Request {
    update(element("storage-01", from), element("storage-01", to))
}

fn postgres(extra: Value) -> Value {
    let mut base = json!({"host": "postgres", "adminSecretRef": {"name": "postgres-admin"}});
    merge(&mut base, extra);
    base
}

/// Every rule of every kind.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = names();
    cases.extend(unions());
    cases.extend(immutable());
    cases.extend(immutable_storage());
    cases.extend(modes());
    cases.extend(pods());
    cases
}

fn names() -> Vec<Case> {
    vec![
        Case {
            rule: "the name must be at most 63 characters: it is also a label's value",
            admitted: create(fleet(&"f".repeat(63), json!({}))),
            refused: create(fleet(&"f".repeat(64), json!({}))),
        },
        Case {
            rule: "the name must be at most 52 characters, begin with a letter and have no dots: Services and labels are named after it",
            admitted: create(element(&"e".repeat(52), json!({"elementId": "long"}))),
            refused: create(element("storage.01", json!({"elementId": "dots"}))),
        },
        Case {
            rule: "set elementId: the name, less a leading 'storage-', is longer than 20 characters",
            admitted: create(element(&format!("storage-{}", "x".repeat(20)), json!({}))),
            refused: create(element(&"x".repeat(21), json!({}))),
        },
        Case {
            rule: "database.name must not be one of PostgreSQL's own",
            admitted: create(element("storage-01", json!({"database": {"name": "files"}}))),
            refused: create(element("storage-01", json!({"database": {"name": "postgres"}}))),
        },
    ]
}

fn unions() -> Vec<Case> {
    let auth = json!({"publicKeySecretRef": {"name": "jwt"}});
    vec![
        Case {
            rule: "a fleet's database needs exactly one of: postgres, embedded",
            admitted: create(fleet("main", json!({"database": {"embedded": {}}}))),
            refused: create(fleet(
                "main",
                json!({"database": {"embedded": {}, "postgres": postgres(json!({}))}}),
            )),
        },
        Case {
            rule: "an element's database takes at most one of: postgres, embedded",
            admitted: create(element(
                "storage-01",
                json!({"database": {"postgres": postgres(json!({}))}}),
            )),
            refused: create(element(
                "storage-01",
                json!({"database": {"embedded": {}, "postgres": postgres(json!({}))}}),
            )),
        },
        Case {
            rule: "sslMode verify-ca and verify-full need caSecretRef",
            admitted: create(fleet(
                "main",
                json!({"database": {"postgres":
                    postgres(json!({"sslMode": "verify-full", "caSecretRef": {"name": "ca"}}))}}),
            )),
            refused: create(fleet(
                "main",
                json!({"database": {"postgres": postgres(json!({"sslMode": "verify-ca"}))}}),
            )),
        },
        Case {
            rule: "sslMode disable and prefer check no certificate: leave caSecretRef out, or sslMode",
            admitted: create(fleet(
                "main",
                json!({"database": {"postgres": postgres(json!({"caSecretRef": {"name": "ca"}}))}}),
            )),
            refused: create(fleet(
                "main",
                json!({"database": {"postgres":
                    postgres(json!({"sslMode": "prefer", "caSecretRef": {"name": "ca"}}))}}),
            )),
        },
        Case {
            rule: "discovery needs exactly one of: redis",
            admitted: create(fleet("main", json!({"discovery": {"redis": {"host": "redis"}}}))),
            refused: create(fleet("main", json!({"discovery": {}}))),
        },
        Case {
            rule: "auth needs exactly one of: publicKeySecretRef",
            admitted: create(fleet("main", json!({"auth": auth}))),
            refused: create(fleet("main", json!({"auth": {"issuer": "https://issuer"}}))),
        },
        Case {
            rule: "storage needs exactly one of: local",
            admitted: create(element("storage-01", json!({}))),
            refused: create(element("storage-01", json!({"storage": {"local": null}}))),
        },
        Case {
            rule: "set fleetRef, or auth and one of database.postgres and database.embedded inline",
            admitted: create(element(
                "storage-01",
                json!({"fleetRef": null, "auth": auth, "database": {"embedded": {}}}),
            )),
            refused: create(element("storage-01", json!({"fleetRef": null, "auth": auth}))),
        },
    ]
}

fn immutable() -> Vec<Case> {
    vec![
        Case {
            rule: "elementId is immutable: create another element instead",
            admitted: change(json!({"elementId": "01"}), json!({"elementId": "01", "priority": 5})),
            refused: change(json!({"elementId": "01"}), json!({"elementId": "02"})),
        },
        Case {
            rule: "database.name is immutable: create another element instead",
            admitted: change(
                json!({"database": {"name": "a"}}),
                json!({"database": {"name": "a", "adopt": true}}),
            ),
            refused: change(json!({}), json!({"database": {"name": "b"}})),
        },
        Case {
            rule: "database.tablePrefix is immutable: create another element instead",
            admitted: change(json!({}), json!({"database": {"adopt": true}})),
            refused: change(
                json!({"database": {"tablePrefix": "a_"}}),
                json!({"database": {"adopt": true}}),
            ),
        },
        Case {
            rule: "database.embedded is immutable: create another element instead",
            admitted: change(
                json!({"database": {"embedded": {}}}),
                json!({"database": {"embedded": {}}, "priority": 5}),
            ),
            refused: change(json!({}), json!({"database": {"embedded": {}}})),
        },
        Case {
            rule: "the kind of a fleet's database is immutable: create another fleet instead",
            admitted: update(
                fleet("main", json!({"database": {"postgres": postgres(json!({}))}})),
                fleet(
                    "main",
                    json!({"database": {"postgres": postgres(json!({"port": 5433}))}}),
                ),
            ),
            refused: update(
                fleet("main", json!({"database": {"postgres": postgres(json!({}))}})),
                fleet("main", json!({"database": {"embedded": {}}})),
            ),
        },
    ]
}

fn immutable_storage() -> Vec<Case> {
    vec![
        Case {
            rule: "the kind of storage is immutable: create another element instead",
            admitted: change(json!({}), json!({"storage": {"local": {"size": "20Gi"}}})),
            refused: change(json!({}), json!({"storage": {"local": null}})),
        },
        Case {
            rule: "storageClassName is immutable: a volume cannot change its class",
            admitted: change(
                json!({"storage": {"local": {"storageClassName": "fast"}}}),
                json!({"storage": {"local": {"storageClassName": "fast", "size": "20Gi"}}}),
            ),
            refused: change(
                json!({"storage": {"local": {"storageClassName": "fast"}}}),
                json!({"storage": {"local": {"storageClassName": "slow"}}}),
            ),
        },
        Case {
            rule: "accessMode is immutable: a volume cannot change it",
            admitted: change(
                json!({"storage": {"local": {"accessMode": "ReadWriteMany"}}}),
                json!({"storage": {"local": {"accessMode": "ReadWriteMany"}}, "priority": 5}),
            ),
            refused: change(
                json!({}),
                json!({"storage": {"local": {"accessMode": "ReadWriteMany"}}}),
            ),
        },
        Case {
            rule: "size may only grow: a volume cannot shrink",
            admitted: change(json!({}), json!({"storage": {"local": {"size": "10241Mi"}}})),
            refused: change(json!({}), json!({"storage": {"local": {"size": "10239Mi"}}})),
        },
    ]
}

fn modes() -> Vec<Case> {
    vec![
        Case {
            rule: "mode may go from rw to ro, from ro to ar, and from ro back to rw; edit and ar are final",
            admitted: change(json!({"mode": "rw"}), json!({"mode": "ro"})),
            refused: change(json!({"mode": "edit"}), json!({"mode": "rw"})),
        },
        Case {
            rule: "mode may go from ro back to rw only with confirmModeChange: true",
            admitted: change(json!({"mode": "ro"}), json!({"mode": "rw", "confirmModeChange": true})),
            refused: change(json!({"mode": "ro"}), json!({"mode": "rw", "confirmModeChange": false})),
        },
    ]
}

fn pods() -> Vec<Case> {
    vec![
        Case {
            rule: "podLabels under app.kubernetes.io/ and artstore.dev/ are the operator's",
            admitted: create(element("storage-01", json!({"podLabels": {"team": "archive"}}))),
            refused: create(element(
                "storage-01",
                json!({"podLabels": {"app.kubernetes.io/name": "mine"}}),
            )),
        },
        Case {
            rule: "podAnnotations under artstore.dev/ are the operator's",
            admitted: create(element(
                "storage-01",
                json!({"podAnnotations": {"backup.example/at": "night"}}),
            )),
            refused: create(element(
                "storage-01",
                json!({"podAnnotations": {"artstore.dev/settings": "0"}}),
            )),
        },
    ]
}
