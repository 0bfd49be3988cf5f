//! The operator as a library, for its binary and its tests.

pub mod cache;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod context;
pub mod controller;
pub mod database;
pub mod element;
pub mod fleet;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod name;
pub mod outcome;
pub mod probe;
pub mod quantity;
pub mod run;
pub mod telemetry;
pub mod verdict;
