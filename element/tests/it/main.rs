//! The element as its users meet it: the real binary over a real folder, real PostgreSQL and real Redis.
//!
//! `ARTSTORE_TEST_POSTGRES` and `ARTSTORE_TEST_REDIS` name the servers; `make test` sets them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod auth;
mod config;
mod dev;
mod discovery;
mod download;
mod harness;
mod health;
mod lifecycle;
mod limits;
mod metadata;
mod mode;
mod outage;
mod search;
mod upload;
