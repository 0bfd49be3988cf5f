//! The custom resources against their YAML and against a real API server.

// Clippy knows test functions, not what they call: there too a failed expectation is how a test fails.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod admission;
mod cases;
mod definitions;
