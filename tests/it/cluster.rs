//! The cluster that all tests of this binary share.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not what they call")]

use std::process::{Command, Output};
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use e2e::control_plane::kubectl_command;
use e2e::{Layout, infra};

/// Tests that use the cluster hold it for reading, those that break it for writing.
static QUIET: RwLock<()> = RwLock::new(());

/// Lets several tests use the cluster together.
pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps all other tests away while one breaks the cluster.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().unwrap_or_else(PoisonError::into_inner)
}

/// The cluster, up.
pub(crate) static CLUSTER: LazyLock<Layout> = LazyLock::new(|| {
    up();
    Layout::of_this_machine().unwrap()
});

/// Calls `cluster up`, the way a person does.
pub(crate) fn up() {
    let output = cluster(&["up"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the command `cluster`.
pub(crate) fn cluster(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cluster"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs kubectl and returns what it printed; panics with its message when it fails.
pub(crate) fn kubectl(arguments: &[&str]) -> String {
    let output = kubectl_command(&CLUSTER).unwrap().args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "kubectl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Asks the cluster's PostgreSQL.
pub(crate) fn sql(query: &str) -> String {
    let script = r#"PGPASSWORD=$(cat /secret/password) exec psql -h /tmp -U postgres -At -c "$0""#;
    let place = ["exec", "-n", infra::NAMESPACE, "postgres-0", "--"];
    kubectl(&[place.as_slice(), &["sh", "-c", script, query]].concat())
        .trim()
        .to_owned()
}

/// A namespace that goes with the value.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        kubectl(&["create", "namespace", &name]);
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let arguments = ["delete", "namespace", &self.0, "--wait=false"];
        let _best_effort = kubectl_command(&CLUSTER).unwrap().args(arguments).output();
    }
}
