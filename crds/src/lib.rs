//! The custom resources: what a user may write, what the API server checks, and the words status is told in.
//!
//! Types, schema and CEL rules only. Nothing here decides or does anything.

mod definition;
mod element;
mod fleet;
mod parts;
mod schema;

pub use definition::{DefinitionError, definitions, file_name, render};
pub use element::{
    CapacityState, DatabaseState, DeletionPolicy, EffectiveSettings, ElementDatabase, FleetRef, Limits, LocalStorage,
    ModeStatus, Phase, Storage, StorageElement, StorageElementSpec, StorageElementStatus, VolumeAccess, WalState,
};
pub use fleet::{FleetDatabase, StorageFleet, StorageFleetSpec, StorageFleetStatus};
pub use parts::{Auth, Discovery, Embedded, Postgres, Redis, SecretKeyRef, SecretRef, SslMode};

/// The API group of every kind.
pub const GROUP: &str = "artstore.dev";
/// The one version served and stored.
pub const VERSION: &str = "v1alpha1";
