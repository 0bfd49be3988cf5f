//! Where the harness keeps things. Nothing is ever kept in the checkout.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The variable that names an existing cluster to use instead of the local one.
pub const KUBECONFIG_VARIABLE: &str = "ARTSTORE_KUBECONFIG";

/// The folders of the harness.
#[derive(Debug, Clone)]
pub struct Layout {
    /// What may be built again: Go tools, images, cargo targets. Survives `cluster down`.
    pub cache: PathBuf,
    /// Everything of the running cluster. Removed by `cluster down`.
    pub root: PathBuf,
    /// The sources of the harness: Go tool modules, manifests, images.
    pub sources: PathBuf,
}

impl Layout {
    /// The folders of this machine, by the XDG variables.
    pub fn of_this_machine() -> Result<Self> {
        let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
            Some(cache) => PathBuf::from(cache),
            None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
        };
        let state = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty());
        let state = state.map_or_else(|| PathBuf::from("/var/lib"), PathBuf::from);
        Ok(Self {
            cache: cache.join("artstore-operator"),
            root: state.join("artstore-operator/cluster"),
            sources: Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster"),
        })
    }

    /// The root of the checkout.
    pub fn checkout(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The kubeconfig of the cluster in use: the one somebody else runs, if the variable names it, else ours.
    pub fn kubeconfig_in_use(&self) -> PathBuf {
        self.existing_cluster().unwrap_or_else(|| self.kubeconfig())
    }

    /// A path below the root.
    pub fn at(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A path below the root, as text for a configuration file.
    pub fn text(&self, relative: &str) -> String {
        self.root.join(relative).display().to_string()
    }

    /// The cluster somebody else runs, when the variable names one that is not ours.
    pub fn existing_cluster(&self) -> Option<PathBuf> {
        let path = std::env::var_os(KUBECONFIG_VARIABLE)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)?;
        (path != self.kubeconfig()).then_some(path)
    }
}
