//! The words the storage element, the operator and their clients share: modes and what each allows, roles, file metadata,
//! identity and capacity, maintenance tasks, error codes.
//!
//! Data and pure rules only: nothing here talks to a network, a disk or a database.

mod capacity;
mod error;
mod info;
mod metadata;
mod mode;
mod role;
mod task;

pub use capacity::{Capacity, CapacityStatus, Thresholds};
pub use error::{ErrorCode, Problem};
pub use info::{Info, Page};
pub use metadata::{FileMetadata, MetadataValue, RetentionPolicy, SCHEMA_VERSION};
pub use mode::{Mode, ModeChange, ModeState, Operation, Transition, UnknownMode};
pub use role::Role;
pub use task::{
    Finding, FindingKind, GcReport, InspectionReport, RebuildReport, Task, TaskKind, TaskProgress, TaskResult,
    TaskStatus,
};
