//! The operator against real servers: one binary, one module a subject.

// Clippy knows test functions, not what they call: there too a failed expectation is how a test fails.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod binary;
mod crash;
mod database;
mod leader;
mod lifecycle;
mod trouble;
mod world;
