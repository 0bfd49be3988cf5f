//! StorageFleet: what elements share.
#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::{Auth, Discovery, Embedded, Postgres};
use crate::schema;

/// What the elements of a fleet share. An element may set each of these for itself; its own value wins.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "artstore.dev",
    version = "v1alpha1",
    kind = "StorageFleet",
    plural = "storagefleets",
    shortname = "sf",
    category = "artstore",
    namespaced,
    derive = "PartialEq",
    status = "StorageFleetStatus",
    doc = "What storage elements share: image, database server, discovery and identity.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Elements", type_ = "integer", json_path = ".status.elements"),
    printcolumn(name = "Serving", type_ = "integer", json_path = ".status.readyElements"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("the name must be at most 63 characters: it is also a label's value")
)]
#[serde(rename_all = "camelCase")]
pub struct StorageFleetSpec {
    /// Image of the elements that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = schema::NO_BLANKS))]
    pub image: Option<String>,
    /// Where elements keep their index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<FleetDatabase>,
    /// Where elements announce themselves; nowhere when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// Whose tokens elements take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// Where elements keep their index: exactly one.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.postgres), has(self.embedded)].exists_one(set, set)")
        .message("a fleet's database needs exactly one of: postgres, embedded"),
    validation = Rule::new("has(self.embedded) == has(oldSelf.embedded)")
        .message("the kind of a fleet's database is immutable: create another fleet instead")
)]
pub struct FleetDatabase {
    /// A PostgreSQL server; each element gets a database and a role of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// An embedded database in each element's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<Embedded>,
}

/// What the operator last saw of a fleet.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageFleetStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: whether everything the fleet refers to is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// How many elements name this fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<i64>,
    /// How many of them are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_elements: Option<i64>,
}
