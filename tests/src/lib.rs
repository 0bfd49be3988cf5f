//! A real Kubernetes on a bare Linux machine: the parts that `cluster` (the command) and the tests put together.
//!
//! It owns everything below [`Layout::root`] and the bridge [`machine::BRIDGE`], and must touch nothing else of the
//! machine. [`crash`] needs no cluster. It never stops a process it did not start: each one is known by its id and its start time.

pub mod client;
pub mod command;
pub mod control_plane;
pub mod crash;
pub mod daemon;
pub mod deploy;
pub mod image;
pub mod infra;
pub mod kubeconfig;
pub mod layout;
pub mod lifecycle;
pub mod machine;
pub mod node;
pub mod packages;
pub mod pki;
pub mod release;
pub mod schemathesis;
pub mod services;
pub mod step;
pub mod tools;

pub use layout::Layout;
