//! The only node: containerd, kubelet, kube-proxy, and beside them the scheduler, CoreDNS and the volume provisioner.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::command::{run_any, wait_for};
use crate::control_plane::{apply, kubectl};
use crate::daemon::Daemon;
use crate::layout::Layout;
use crate::machine::{ADDRESS, BRIDGE, CONTROL_GROUP, NETWORK, NODE_NAME, POD_RANGE, SERVICE_RANGE};
use crate::step::step;
use crate::{image, infra, kubeconfig, tools};

/// The image of the process that holds a pod's namespaces.
const PAUSE_IMAGE: &str = "localhost/artstore-pause:local";

/// How long a part of the node may take to become ready on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Starts what is not running and waits until the node is ready.
pub fn ensure(layout: &Layout) -> Result<()> {
    let pause = pause_archive(layout)?;
    let infra = infra::archive(layout)?;
    scheduler(layout)?;
    containerd(layout)?;
    image::load(layout, &pause)?;
    kubelet(layout)?;
    kube_proxy(layout)?;
    image::load(layout, &infra)?;
    apply(layout, include_str!("../cluster/manifests/system.yaml"))?;
    coredns(layout)?;
    provisioner(layout)?;
    step("wait for the node", || {
        wait_for("a ready node", READY_LIMIT, || node_is_ready(layout))
    })
}

/// The sockets that shims of this cluster listen on; containerd keeps their addresses beside each container.
pub fn shim_sockets(layout: &Layout) -> Vec<PathBuf> {
    let Ok(tasks) = fs::read_dir(layout.at("run/containerd/io.containerd.runtime.v2.task/k8s.io")) else {
        return Vec::new();
    };
    let addresses = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("address")).ok());
    addresses
        .filter_map(|address| address.trim().strip_prefix("unix://").map(PathBuf::from))
        .collect()
}

/// Removes sockets whose shims have ended.
pub fn remove_sockets(sockets: &[PathBuf]) -> Result<()> {
    for socket in sockets {
        if socket.exists() {
            fs::remove_file(socket).with_context(|| format!("failed to remove {}", socket.display()))?;
        }
    }
    Ok(())
}

fn node_is_ready(layout: &Layout) -> Result<bool> {
    let status = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    Ok(kubectl(layout, ["get", "node", NODE_NAME, "-o", status])? == "True")
}

fn pause_archive(layout: &Layout) -> Result<PathBuf> {
    let program = tools::PAUSE.path(layout)?;
    let key = program
        .parent()
        .and_then(|folder| folder.file_name())
        .context("the cache has no key")?;
    let archive = image::archives(layout)?.join(format!("pause-{}.tar", key.to_string_lossy()));
    if !archive.exists() {
        let folder = program.parent().context("the cache has no folder")?;
        let containerfile = layout.sources.join("images/pause/Containerfile");
        step("build the pause image", || {
            image::build(layout, folder, &containerfile, None, PAUSE_IMAGE, &archive)
        })?;
    }
    Ok(archive)
}

fn scheduler(layout: &Layout) -> Result<()> {
    let arguments = [
        format!("--kubeconfig={}", kubeconfig::of(layout, "scheduler")),
        format!("--bind-address={ADDRESS}"),
        "--leader-elect=false".into(),
    ];
    Daemon::new("kube-scheduler", tools::KUBE_SCHEDULER.path(layout)?, arguments).ensure(layout)
}

fn containerd(layout: &Layout) -> Result<()> {
    let root = layout.root.display();
    let configuration = format!(
        r#"version = 2
root = "{root}/containerd"
state = "{root}/run/containerd"
[grpc]
address = "{root}/run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{root}/run/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{root}/cni"
"#
    );
    fs::create_dir_all(layout.at("run"))?;
    fs::create_dir_all(layout.at("cni"))?;
    let arguments = [format!("--config={}", layout.text("containerd.toml"))];
    Daemon::new("containerd", "/usr/bin/containerd".into(), arguments)
        .with_file(layout.at("containerd.toml"), configuration)
        .with_file(layout.at("cni/artstore.conflist"), cni(layout).to_string())
        .ensure(layout)?;
    wait_for("an answer of containerd", READY_LIMIT, || {
        Ok(run_any(image::ctr(layout).args(["images", "ls", "-q"]))?
            .status
            .success())
    })
}

/// The pods' network. Pods get a route to the Services and none to the rest of the world.
fn cni(layout: &Layout) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": NETWORK,
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": layout.at("addresses"),
                "ranges": [[{"subnet": POD_RANGE, "gateway": ADDRESS}]],
                "routes": [{"dst": SERVICE_RANGE, "gw": ADDRESS}],
            },
        }],
    })
}

fn kubelet(layout: &Layout) -> Result<()> {
    let configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "healthzBindAddress": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.at("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.at("pki/kubelet.crt"),
        "tlsPrivateKeyFile": layout.at("pki/kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.text("run/containerd.sock")),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CONTROL_GROUP}"),
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": layout.at("resolv.conf"),
        "podLogsDir": layout.at("pod-logs"),
        "volumePluginDir": layout.at("volume-plugins"),
        "failSwapOn": false,
        "oomScoreAdj": 0,
        // Tolerates the limits of machines that are containers or sandboxes themselves.
        "featureGates": {"KubeletInUserNamespace": true},
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        // Nothing could bring a removed image back: there is no registry.
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
    })
    .to_string();
    let arguments = [
        format!("--config={}", layout.text("kubelet.json")),
        format!("--kubeconfig={}", kubeconfig::of(layout, "kubelet")),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={ADDRESS}"),
        format!("--root-dir={}", layout.text("kubelet")),
    ];
    Daemon::new("kubelet", tools::KUBELET.path(layout)?, arguments)
        .with_file(layout.at("kubelet.json"), configuration)
        .with_file(layout.at("resolv.conf"), format!("nameserver {ADDRESS}\n"))
        .ensure(layout)
}

fn kube_proxy(layout: &Layout) -> Result<()> {
    let configuration = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_RANGE,
        "clientConnection": {"kubeconfig": kubeconfig::of(layout, "kube-proxy")},
        "bindAddress": ADDRESS,
        "healthzBindAddress": format!("{ADDRESS}:10256"),
        "metricsBindAddress": format!("{ADDRESS}:10249"),
        "nodePortAddresses": [format!("{ADDRESS}/32")],
        // Zero leaves the kernel's own settings alone; sandboxes forbid to change them.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
    .to_string();
    let arguments = [format!("--config={}", layout.text("kube-proxy.json"))];
    Daemon::new("kube-proxy", tools::KUBE_PROXY.path(layout)?, arguments)
        .with_file(layout.at("kube-proxy.json"), configuration)
        .ensure(layout)
}

/// Names of the cluster are answered, all others do not exist: nothing is ever asked outside this machine.
fn coredns(layout: &Layout) -> Result<()> {
    let kubeconfig = kubeconfig::of(layout, "coredns");
    let configuration = format!(
        "cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{\n  bind {ADDRESS}\n  errors\n  kubernetes {{\n    \
         kubeconfig {kubeconfig}\n    ttl 5\n  }}\n}}\n\
         .:53 {{\n  bind {ADDRESS}\n  errors\n  template ANY ANY {{\n    rcode NXDOMAIN\n  }}\n}}\n"
    );
    let arguments = ["-conf".into(), layout.text("Corefile")];
    Daemon::new("coredns", tools::COREDNS.path(layout)?, arguments)
        .with_file(layout.at("Corefile"), configuration)
        .ensure(layout)
}

fn provisioner(layout: &Layout) -> Result<()> {
    let configuration = json!({
        "nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [layout.at("volumes")]}],
    })
    .to_string();
    let arguments = [
        "start".into(),
        format!("--config={}", layout.text("volumes.json")),
        format!("--kubeconfig={}", kubeconfig::of(layout, "local-path-provisioner")),
        "--namespace=local-path-storage".into(),
        "--service-account-name=default".into(),
        "--configmap-name=local-path-config".into(),
        format!("--helper-image={}", infra::IMAGE),
    ];
    Daemon::new(
        "local-path-provisioner",
        tools::LOCAL_PATH_PROVISIONER.path(layout)?,
        arguments,
    )
    .with_file(layout.at("volumes.json"), configuration)
    .ensure(layout)
}
