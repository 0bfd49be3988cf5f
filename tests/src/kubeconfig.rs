//! Kubeconfig files: one per component, each with its own certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::layout::Layout;
use crate::machine::ADDRESS;
use crate::pki;

/// The components that talk to the API server, by the name of their certificate.
const COMPONENTS: [&str; 6] = [
    "controller-manager",
    "scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "local-path-provisioner",
];

/// Writes all kubeconfigs that are not there yet.
pub fn ensure(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.at("kubeconfigs"))?;
    for component in COMPONENTS {
        write(layout, component, &layout.at("kubeconfigs").join(component))?;
    }
    write(layout, "admin", &layout.kubeconfig())
}

/// The kubeconfig of one component, as text for an argument.
pub fn of(layout: &Layout, component: &str) -> String {
    layout.at("kubeconfigs").join(component).display().to_string()
}

fn write(layout: &Layout, certificate: &str, target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    // JSON is YAML; base64 comes from the program that made the certificates.
    let data = |file: String| -> Result<String> { encode(&layout.at("pki").join(file)) };
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "artstore",
        "clusters": [{"name": "artstore", "cluster": {
            "server": format!("https://{ADDRESS}:6443"),
            "certificate-authority-data": encode(&pki::authority_path(layout))?,
        }}],
        "users": [{"name": certificate, "user": {
            "client-certificate-data": data(format!("{certificate}.crt"))?,
            "client-key-data": data(format!("{certificate}.key"))?,
        }}],
        "contexts": [{"name": "artstore", "context": {"cluster": "artstore", "user": certificate}}],
    });
    let temporary = target.with_extension("new");
    fs::write(&temporary, serde_json::to_vec_pretty(&text)?)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, target).context("failed to rename a kubeconfig into place")
}

fn encode(file: &Path) -> Result<String> {
    let mut base64 = crate::command::command("openssl", ["base64", "-A", "-in"]);
    crate::command::run(base64.arg(file))
}
