//! Proof that nothing acknowledged is lost: the element is killed, refused by the disk, cut off and robbed of its power, and what it
//! promised is compared with what is there afterwards.
//!
//! `site` starts elements, `tracer` looks at their system calls, `workload` says what they do, `ledger` what they promised and
//! `check` what must hold. The parts: [`kill`], [`fault`], [`volume`], [`outage`], [`power`], [`chaos`]. docs/durability.md tells
//! what counts as a point and what is modelled.

pub mod api;
pub mod chance;
pub mod chaos;
pub mod check;
pub mod fault;
pub mod kill;
pub mod ledger;
pub mod outage;
pub mod postgres;
pub mod power;
pub mod report;
pub mod site;
pub mod tracer;
pub mod volume;
pub mod wire;
pub mod workload;
