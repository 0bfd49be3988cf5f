//! What the operator tells of an element. Written by the operator alone, by nobody else, and never read back as a wish.

use element_api::{CapacityStatus, Mode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeletionPolicy;
use crate::schema;

/// What the operator last saw of an element.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageElementStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state of the whole and of each part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The state in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Where clients in the cluster reach the element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The settings in force, the fleet's defaults included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveSettings>,
    /// The mode the element itself confirms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeStatus>,
    /// Where the index is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseState>,
    /// How full the element is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityState>,
    /// The number of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// The write-ahead log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalState>,
    /// Pods there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Pods that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Label selector of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// The state of an element in a word.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// Something the user must set right keeps it from being made.
    Blocked,
    /// It is being made or changed.
    Progressing,
    /// It serves.
    Ready,
    /// `replicas` is 0.
    Stopped,
    /// `paused` is set.
    Paused,
    /// It is being deleted.
    Deleting,
}

/// The settings in force.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveSettings {
    /// The identity to clients.
    pub element_id: String,
    /// Image of the element.
    pub image: String,
    /// `HOST:PORT` of the PostgreSQL server, or `embedded`.
    pub database: String,
    /// How the connection to PostgreSQL is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_mode: Option<String>,
    /// `HOST:PORT` of the Redis server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<String>,
    /// The `iss` a token must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The `aud` a token must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The largest file an upload may bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_file_size: Option<String>,
    /// What happens to volume, Secrets and database at the end.
    pub deletion_policy: DeletionPolicy,
}

/// The mode the element itself confirms.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModeStatus {
    /// The mode.
    #[schemars(schema_with = "schema::mode")]
    pub current: Mode,
    /// Since when the operator has seen it.
    pub since: Time,
}

/// Where the index is.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseState {
    /// Name of the database, or `embedded`.
    pub name: String,
    /// What the names of all tables begin with.
    pub table_prefix: String,
    /// The schema the element runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// `NAMESPACE/NAME` of the element that is marked as its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// How full the element is.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityState {
    /// What it may hold.
    pub total_bytes: i64,
    /// What it holds, in whole MiB.
    pub used_bytes: i64,
    /// The same in whole percent.
    pub percent: i32,
    /// The same for people.
    pub used: String,
    /// ok, warning, critical or full.
    #[schemars(schema_with = "capacity_status")]
    pub status: CapacityStatus,
}

/// The write-ahead log.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalState {
    /// Entries not yet settled.
    pub pending: i64,
}

fn capacity_status(_: &mut schemars::generate::SchemaGenerator) -> schemars::Schema {
    let words = [
        CapacityStatus::Ok,
        CapacityStatus::Warning,
        CapacityStatus::Critical,
        CapacityStatus::Full,
    ];
    schemars::json_schema!({"type": "string", "enum": words.map(CapacityStatus::as_str)})
}
