//! StorageElement: one file server, and the rules for changing it.
#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]

mod status;

use std::collections::BTreeMap;

use element_api::Mode;
use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::status::{
    CapacityState, DatabaseState, EffectiveSettings, ModeStatus, Phase, StorageElementStatus, WalState,
};
use crate::parts::{Auth, Discovery, Embedded, Postgres};
use crate::schema;

fn one_replica() -> i32 {
    1
}

fn default_priority() -> i32 {
    100
}

/// One storage element.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "artstore.dev",
    version = "v1alpha1",
    kind = "StorageElement",
    plural = "storageelements",
    shortname = "se",
    category = "artstore",
    namespaced,
    derive = "PartialEq",
    status = "StorageElementStatus",
    doc = "A file server with its volume, its database and its mode.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    selectable = ".spec.mode",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.capacity.used"),
    printcolumn(name = "Files", type_ = "integer", json_path = ".status.files"),
    printcolumn(name = "Database", type_ = "string", json_path = ".status.database.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Priority", type_ = "integer", priority = 1, json_path = ".spec.priority"),
    printcolumn(name = "WAL", type_ = "integer", priority = 1, json_path = ".status.wal.pending"),
    printcolumn(name = "Endpoint", type_ = "string", priority = 1, json_path = ".status.endpoint"),
    validation = Rule::new("size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name must be at most 52 characters, begin with a letter and have no dots: Services and labels are named after it"),
    validation = Rule::new("has(self.spec.elementId) || size(self.metadata.name) - (self.metadata.name.startsWith('storage-') ? 8 : 0) <= 20")
        .message("set elementId: the name, less a leading 'storage-', is longer than 20 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.fleetRef) || (has(self.auth) && has(self.database) && (has(self.database.postgres) || has(self.database.embedded)))")
        .message("set fleetRef, or auth and one of database.postgres and database.embedded inline"),
    validation = Rule::new("(has(self.elementId) ? self.elementId : '') == (has(oldSelf.elementId) ? oldSelf.elementId : '')")
        .message("elementId is immutable: create another element instead"),
    validation = Rule::new("(has(self.database) && has(self.database.name) ? self.database.name : '') == (has(oldSelf.database) && has(oldSelf.database.name) ? oldSelf.database.name : '')")
        .message("database.name is immutable: create another element instead"),
    validation = Rule::new("(has(self.database) && has(self.database.tablePrefix) ? self.database.tablePrefix : '') == (has(oldSelf.database) && has(oldSelf.database.tablePrefix) ? oldSelf.database.tablePrefix : '')")
        .message("database.tablePrefix is immutable: create another element instead"),
    validation = Rule::new("(has(self.database) && has(self.database.embedded)) == (has(oldSelf.database) && has(oldSelf.database.embedded))")
        .message("database.embedded is immutable: create another element instead"),
    validation = Rule::new("self.mode == oldSelf.mode || (oldSelf.mode == 'rw' && self.mode == 'ro') || (oldSelf.mode == 'ro' && (self.mode == 'ar' || self.mode == 'rw'))")
        .message("mode may go from rw to ro, from ro to ar, and from ro back to rw; edit and ar are final"),
    validation = Rule::new("!(oldSelf.mode == 'ro' && self.mode == 'rw') || (has(self.confirmModeChange) && self.confirmModeChange)")
        .message("mode may go from ro back to rw only with confirmModeChange: true")
)]
pub struct StorageElementSpec {
    /// The fleet whose settings hold where this element sets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_ref: Option<FleetRef>,
    /// Image of the element; the fleet's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = schema::NO_BLANKS))]
    pub image: Option<String>,
    /// The element's identity to its clients. Immutable; the name, less a leading `storage-`, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"))]
    pub element_id: Option<String>,
    /// What the element allows: edit (all), rw (no delete), ro (read), ar (metadata only).
    #[serde(default)]
    #[schemars(schema_with = "schema::mode")]
    pub mode: Mode,
    /// Must be true for the step from ro back to rw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_mode_change: Option<bool>,
    /// Clients prefer elements of a lower number.
    #[serde(default = "default_priority")]
    #[schemars(range(min = 0, max = 1000000))]
    pub priority: i32,
    /// 1, or 0 to stop the element.
    #[serde(default = "one_replica")]
    #[schemars(range(min = 0, max = 1))]
    pub replicas: i32,
    /// Where the files are.
    pub storage: Storage,
    /// Where the index is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<ElementDatabase>,
    /// Where the element announces itself; as the fleet says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// Whose tokens the element takes; as the fleet says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Limits to what clients may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What happens to volume, Secrets and database when the element is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Stops everything but status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Resources of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pod tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Where the pod may and should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::affinity")]
    pub affinity: Option<Affinity>,
    /// How pods are spread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::topology_spread")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Further labels of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('artstore.dev/'))")
        .message("podLabels under app.kubernetes.io/ and artstore.dev/ are the operator's"))]
    pub pod_labels: BTreeMap<String, String>,
    /// Further annotations of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('artstore.dev/'))")
        .message("podAnnotations under artstore.dev/ are the operator's"))]
    pub pod_annotations: BTreeMap<String, String>,
}

/// A fleet of the same namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetRef {
    /// Name of the StorageFleet, in the same namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

/// Where the files are: exactly one, and its kind is immutable.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.local)].exists_one(set, set)").message("storage needs exactly one of: local"),
    validation = Rule::new("has(self.local) == has(oldSelf.local)")
        .message("the kind of storage is immutable: create another element instead")
)]
pub struct Storage {
    /// A volume of the element's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalStorage>,
}

/// A volume of the element's own.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.storageClassName) ? self.storageClassName : '') == (has(oldSelf.storageClassName) ? oldSelf.storageClassName : '')")
        .message("storageClassName is immutable: a volume cannot change its class"),
    validation = Rule::new("(has(self.accessMode) ? self.accessMode : '') == (has(oldSelf.accessMode) ? oldSelf.accessMode : '')")
        .message("accessMode is immutable: a volume cannot change it")
)]
pub struct LocalStorage {
    /// Size of the volume. It may grow.
    #[schemars(length(min = 1, max = 16), regex(pattern = schema::BYTES))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0")
        .message("size may only grow: a volume cannot shrink"))]
    pub size: String,
    /// StorageClass of the volume; the cluster's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub storage_class_name: Option<String>,
    /// How the volume is mounted; `ReadWriteOnce` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<VolumeAccess>,
}

/// How a volume is mounted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum VolumeAccess {
    /// By one node.
    #[default]
    ReadWriteOnce,
    /// By one pod.
    ReadWriteOncePod,
    /// By many nodes.
    ReadWriteMany,
}

impl VolumeAccess {
    /// The access mode as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

/// Where the index is. At most one of `postgres` and `embedded`; the fleet's when both are left out.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.postgres) && has(self.embedded))")
        .message("an element's database takes at most one of: postgres, embedded"),
    validation = Rule::new("!has(self.name) || !(self.name in ['postgres', 'template0', 'template1'])")
        .message("database.name must not be one of PostgreSQL's own")
)]
pub struct ElementDatabase {
    /// Name of the database. Immutable; `artstore_storage_ID` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::IDENTIFIER))]
    pub name: Option<String>,
    /// What the names of all its tables and indexes begin with. Immutable; `storage_elem_ID_` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 34), regex(pattern = "^[a-z_][a-z0-9_]*_$"))]
    pub table_prefix: Option<String>,
    /// Take an existing database that no element owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<bool>,
    /// A PostgreSQL server instead of the fleet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// An embedded database instead of the fleet's server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<Embedded>,
}

/// Limits to what clients may do.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The largest file an upload may bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = schema::BYTES))]
    pub max_file_size: Option<String>,
}

/// What happens to volume, Secrets and database when the element is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// They stay, and a new element of the same name takes them up again.
    #[default]
    Retain,
    /// They go.
    Delete,
}
