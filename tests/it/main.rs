//! Tests on the local cluster. `harness` proves the cluster itself, `chart` how the operator is installed, `stories` what
//! users do.

mod chart;
mod cluster;
mod harness;
mod stories;
