//! The element as its users meet it: the real binary over a real folder or bucket, real PostgreSQL and real Redis.
//!
//! `ARTSTORE_TEST_POSTGRES`, `ARTSTORE_TEST_REDIS` and `ARTSTORE_TEST_S3` name the servers; `make test` sets them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod attacks;
mod auth;
mod bucket;
mod compose;
mod config;
mod connections;
mod dev;
mod discovery;
mod download;
mod drop_in;
mod fsck;
mod harness;
mod health;
mod jwks;
mod lifecycle;
mod limits;
mod maintenance;
mod metadata;
mod mode;
mod openapi;
mod outage;
mod search;
mod servers;
mod tls;
mod traces;
mod upload;
