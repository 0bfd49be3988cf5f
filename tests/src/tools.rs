//! The Go programs of the cluster: built from small modules beside this crate, kept in the cache by the hash of their
//! sources, so that only a fresh machine pays for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::command::{command, run};
use crate::layout::Layout;
use crate::step::step;

/// Kubernetes, and what shares its libraries: with one version of each they are compiled once.
const CLUSTER: &str = "cluster";

/// The Kubernetes release that this module pins.
pub const KUBERNETES_VERSION: &str = "v1.34.4";

/// Flags for the linker: no symbols, and the version without which the API server refuses to start.
const KUBERNETES_LINK: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34";
const PLAIN_LINK: &str = "-s -w";

/// One program: the module that pins it, its package, and its name in the cache.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    name: &'static str,
    module: &'static str,
    package: &'static str,
    link: &'static str,
}

macro_rules! kubernetes_tool {
    ($name:literal) => {
        Tool {
            name: $name,
            module: CLUSTER,
            package: concat!("k8s.io/kubernetes/cmd/", $name),
            link: KUBERNETES_LINK,
        }
    };
}

/// The API server.
pub const KUBE_APISERVER: Tool = kubernetes_tool!("kube-apiserver");
/// The controllers of Kubernetes itself.
pub const KUBE_CONTROLLER_MANAGER: Tool = kubernetes_tool!("kube-controller-manager");
/// The scheduler.
pub const KUBE_SCHEDULER: Tool = kubernetes_tool!("kube-scheduler");
/// The node agent.
pub const KUBELET: Tool = kubernetes_tool!("kubelet");
/// Services as iptables rules.
pub const KUBE_PROXY: Tool = kubernetes_tool!("kube-proxy");
/// The client.
pub const KUBECTL: Tool = kubernetes_tool!("kubectl");
/// The storage of the API server.
pub const ETCD: Tool = Tool {
    name: "etcd",
    module: CLUSTER,
    package: "go.etcd.io/etcd/server/v3",
    link: PLAIN_LINK,
};
/// Names of Services.
pub const COREDNS: Tool = Tool {
    name: "coredns",
    module: CLUSTER,
    package: ".",
    link: PLAIN_LINK,
};
/// Volumes as folders of this machine.
pub const LOCAL_PATH_PROVISIONER: Tool = Tool {
    name: "local-path-provisioner",
    module: "local-path-provisioner",
    package: "github.com/rancher/local-path-provisioner",
    link: PLAIN_LINK,
};
/// The chart installer.
pub const HELM: Tool = Tool {
    name: "helm",
    module: CLUSTER,
    package: "helm.sh/helm/v3/cmd/helm",
    link: PLAIN_LINK,
};
/// An S3 server over a folder.
pub const VERSITYGW: Tool = Tool {
    name: "versitygw",
    module: "versitygw",
    package: "github.com/versity/versitygw/cmd/versitygw",
    link: PLAIN_LINK,
};
/// The process that holds a pod's namespaces.
pub const PAUSE: Tool = Tool {
    name: "pause",
    module: "pause",
    package: ".",
    link: PLAIN_LINK,
};

/// What the API server and its controllers need.
pub const OF_CONTROL_PLANE: &[Tool] = &[ETCD, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBECTL];

/// What a node needs beyond that.
pub const OF_NODE: &[Tool] = &[
    KUBE_SCHEDULER,
    KUBELET,
    KUBE_PROXY,
    COREDNS,
    LOCAL_PATH_PROVISIONER,
    PAUSE,
];

/// Every one, those that others wait for longest first.
pub const ALL: &[&[Tool]] = &[OF_CONTROL_PLANE, OF_NODE, &[VERSITYGW, HELM]];

/// Builds those that are not in the cache.
pub fn ensure(layout: &Layout, tools: &[Tool]) -> Result<()> {
    tools.iter().try_for_each(|tool| tool.ensure(layout).map(drop))
}

/// The tools that a person calls by name.
pub fn by_name(name: &str) -> Result<Tool> {
    [KUBECTL, HELM]
        .into_iter()
        .find(|tool| tool.name == name)
        .with_context(|| format!("there is no tool {name:?}"))
}

impl Tool {
    /// The program in the cache; it is built first when it is not there.
    pub fn ensure(&self, layout: &Layout) -> Result<PathBuf> {
        let target = self.path(layout)?;
        if !target.exists() {
            step(&format!("build {} (Go, once per machine)", self.name), || {
                self.build(layout, &target)
            })?;
        }
        Ok(target)
    }

    /// Where the program is, built or not.
    pub fn path(&self, layout: &Layout) -> Result<PathBuf> {
        Ok(layout
            .cache
            .join("bin")
            .join(self.key(&self.folder(layout))?)
            .join(self.name))
    }

    fn folder(&self, layout: &Layout) -> PathBuf {
        layout.sources.join("tools").join(self.module)
    }

    /// The first 16 hexadecimal digits of the hash of everything that decides what is built.
    fn key(&self, folder: &Path) -> Result<String> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
            files.push(entry?.path());
        }
        files.sort();
        let mut hash = Sha256::new();
        hash.update(self.link);
        for file in files {
            hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update(fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?);
        }
        Ok(hex(&hash.finalize()).chars().take(16).collect())
    }

    /// Builds under a temporary name and renames, so that a killed build leaves nothing that looks whole.
    fn build(&self, layout: &Layout, target: &Path) -> Result<()> {
        let parent = target.parent().context("the cache has no folder")?;
        fs::create_dir_all(parent)?;
        let temporary = parent.join(format!(".{}.{}", self.name, std::process::id()));
        let mut build = command(
            "go",
            ["build", "-trimpath", "-buildvcs=false", "-ldflags", self.link, "-o"],
        );
        build.arg(&temporary).arg(self.package).current_dir(self.folder(layout));
        build.env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "");
        run(&mut build).context("Go 1.26 or newer must be in PATH")?;
        fs::rename(&temporary, target).context("failed to rename the program into place")
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
