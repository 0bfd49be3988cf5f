//! etcd, the API server and the controllers of Kubernetes: all that tests without a node need.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::{command, run, wait_for};
use crate::daemon::Daemon;
use crate::kubeconfig;
use crate::layout::Layout;
use crate::machine::{ADDRESS, SERVICE_RANGE};
use crate::step::step;
use crate::tools;

/// How long the API server may take to become ready on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Starts what is not running and waits until the API server is ready.
pub fn ensure(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.at("etcd"))?;
    fs::set_permissions(layout.at("etcd"), fs::Permissions::from_mode(0o700))?;
    Daemon::new("etcd", tools::ETCD.path(layout)?, etcd_arguments(layout)).ensure(layout)?;
    let apiserver = tools::KUBE_APISERVER.path(layout)?;
    Daemon::new("kube-apiserver", apiserver, apiserver_arguments(layout)).ensure(layout)?;
    if !is_ready(layout)? {
        step("wait for the API server", || {
            wait_for("a ready API server", READY_LIMIT, || is_ready(layout))
        })?;
    }
    let arguments = [
        format!("--kubeconfig={}", kubeconfig::of(layout, "controller-manager")),
        format!(
            "--service-account-private-key-file={}",
            layout.text("pki/service-accounts.key")
        ),
        format!("--root-ca-file={}", layout.text("pki/ca.crt")),
        format!("--cluster-signing-cert-file={}", layout.text("pki/ca.crt")),
        format!("--cluster-signing-key-file={}", layout.text("pki/ca.key")),
        format!("--bind-address={ADDRESS}"),
        "--use-service-account-credentials".into(),
        "--leader-elect=false".into(),
    ];
    let controllers = tools::KUBE_CONTROLLER_MANAGER.path(layout)?;
    Daemon::new("kube-controller-manager", controllers, arguments).ensure(layout)?;
    wait_for("the service account of the default namespace", READY_LIMIT, || {
        kubectl(layout, ["get", "serviceaccount", "default", "-o", "name"]).map(|_| true)
    })
}

/// Whether the API server, with the storage behind it, answers that it is ready.
pub fn is_ready(layout: &Layout) -> Result<bool> {
    let mut ask = kubectl_command(layout)?;
    let answer = crate::command::run_any(ask.args(["get", "--raw=/readyz", "--request-timeout=5s"]))?;
    Ok(answer.status.success())
}

/// Runs kubectl as the administrator and returns what it printed.
pub fn kubectl<const N: usize>(layout: &Layout, arguments: [&str; N]) -> Result<String> {
    run(kubectl_command(layout)?.args(arguments))
}

/// Applies manifests given as text.
pub fn apply(layout: &Layout, manifests: &str) -> Result<()> {
    let mut apply = kubectl_command(layout)?;
    crate::command::run_with_input(apply.args(["apply", "-f", "-"]), manifests).map(drop)
}

/// kubectl as the administrator, with nothing of the person's own configuration.
pub fn kubectl_command(layout: &Layout) -> Result<Command> {
    let mut kubectl = command(tools::KUBECTL.path(layout)?, [] as [&str; 0]);
    kubectl.env("KUBECONFIG", layout.kubeconfig_in_use());
    Ok(kubectl)
}

fn etcd_arguments(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.text(&format!("pki/{file}"));
    vec![
        "--name=artstore".into(),
        format!("--data-dir={}", layout.text("etcd")),
        format!("--listen-client-urls=https://{ADDRESS}:2379"),
        format!("--advertise-client-urls=https://{ADDRESS}:2379"),
        format!("--listen-peer-urls=https://{ADDRESS}:2380"),
        format!("--initial-advertise-peer-urls=https://{ADDRESS}:2380"),
        format!("--initial-cluster=artstore=https://{ADDRESS}:2380"),
        format!("--cert-file={}", pki("etcd.crt")),
        format!("--key-file={}", pki("etcd.key")),
        format!("--trusted-ca-file={}", pki("ca.crt")),
        "--client-cert-auth".into(),
        format!("--peer-cert-file={}", pki("etcd.crt")),
        format!("--peer-key-file={}", pki("etcd.key")),
        format!("--peer-trusted-ca-file={}", pki("ca.crt")),
        "--peer-client-cert-auth".into(),
        // The cluster is thrown away after a power cut; a killed process loses nothing without fsync.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn apiserver_arguments(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.text(&format!("pki/{file}"));
    vec![
        format!("--bind-address={ADDRESS}"),
        format!("--advertise-address={ADDRESS}"),
        "--secure-port=6443".into(),
        format!("--etcd-servers=https://{ADDRESS}:2379"),
        format!("--etcd-cafile={}", pki("ca.crt")),
        format!("--etcd-certfile={}", pki("apiserver-etcd.crt")),
        format!("--etcd-keyfile={}", pki("apiserver-etcd.key")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        // Only addresses: nobody knows the node by name.
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={}", pki("service-accounts.key")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        "--profiling=false".into(),
    ]
}
