//! Container images: built by buildah from a folder, loaded into the cluster's containerd. No registry takes part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{command, run};
use crate::daemon;
use crate::layout::Layout;
use crate::step::{say, step};

/// What an archive says of the image in it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    /// The file name of the image's configuration, which is its hash: the identity of the image.
    config: String,
    repo_tags: Vec<String>,
}

/// Builds the folder's Containerfile into an archive with one image of that name. The same content gives the same
/// image, so nothing restarts for an unchanged one. With `target`, the stage of that name. The caller holds the lock of the
/// cluster.
pub fn build(
    layout: &Layout,
    folder: &Path,
    containerfile: &Path,
    target: Option<&str>,
    name: &str,
    archive: &Path,
) -> Result<()> {
    let temporary = archive.with_extension("new");
    remove_if_there(&temporary)?;
    run(buildah(layout).args(["rm", "--all"]))?;
    let mut bud = buildah(layout);
    bud.args([
        "bud",
        "--quiet",
        "--timestamp=0",
        "--layers=false",
        "--isolation=chroot",
        "--pull-never",
        "--tag",
        name,
    ]);
    bud.args(target.map(|stage| format!("--target={stage}")));
    run(bud.arg("--file").arg(containerfile).arg(folder))?;
    let mut push = buildah(layout);
    run(push
        .args(["push", "--quiet", name])
        .arg(format!("docker-archive:{}:{name}", temporary.display())))?;
    // The archive is what counts; the store would only grow.
    run(buildah(layout).args(["rmi", "--all", "--force"]))?;
    fs::rename(&temporary, archive).context("failed to rename the archive into place")
}

/// Loads the image of an archive into the running cluster, unless the very same image is there. The caller holds the
/// lock of the cluster.
pub fn load(layout: &Layout, archive: &Path) -> Result<()> {
    if daemon::running(layout, "containerd")?.is_none() {
        bail!("the cluster has no running node: call `cluster up` first");
    }
    let manifest = manifest(archive)?;
    let name = manifest.repo_tags.first().context("the archive names no image")?;
    let record = record(layout, name);
    let is_there = run(ctr(layout).args(["images", "ls", "-q"]))?
        .lines()
        .any(|line| line == name);
    if is_there && fs::read_to_string(&record).ok().as_ref() == Some(&manifest.config) {
        return Ok(());
    }
    step(&format!("load {name}"), || {
        run(ctr(layout)
            .args(["images", "import", "--snapshotter=overlayfs"])
            .arg(archive))?;
        let pinned = with_identity(name, &manifest.config);
        run(ctr(layout).args(["images", "tag", "--force", name, &pinned]))?;
        fs::create_dir_all(layout.at("images"))?;
        fs::write(&record, &manifest.config).context("failed to record the image")
    })
}

/// The name of a loaded image that no later build takes: with its identity in the tag. Who uses it is rolled out anew
/// when the image changes, and only then.
pub fn pinned(layout: &Layout, name: &str) -> Result<String> {
    let identity = fs::read_to_string(record(layout, name));
    let identity = identity.with_context(|| format!("the image {name} is not loaded: call `cluster images` first"))?;
    Ok(with_identity(name, &identity))
}

fn with_identity(name: &str, identity: &str) -> String {
    format!("{name}-{}", identity.chars().take(12).collect::<String>())
}

/// The names of the images that were loaded.
pub fn imported(layout: &Layout) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(layout.at("images")) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().replace('_', "/"));
    }
    names.sort();
    Ok(names)
}

/// The folder of finished archives.
pub fn archives(layout: &Layout) -> Result<PathBuf> {
    let folder = layout.cache.join("images");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// containerd's own client, for the images and containers of Kubernetes.
pub fn ctr(layout: &Layout) -> Command {
    let mut ctr = command("ctr", ["--namespace=k8s.io", "--address"]);
    ctr.arg(layout.at("run/containerd.sock"));
    ctr
}

fn record(layout: &Layout, name: &str) -> PathBuf {
    layout.at("images").join(name.replace('/', "_"))
}

fn manifest(archive: &Path) -> Result<Manifest> {
    let text = run(command("tar", ["-xOf"]).arg(archive).arg("manifest.json"))?;
    let manifests: Vec<Manifest> = serde_json::from_str(&text).context("failed to read the archive's manifest")?;
    manifests.into_iter().next().context("the archive holds no image")
}

/// buildah with a store of its own; `vfs` needs no mounts, so a killed build leaves none.
fn buildah(layout: &Layout) -> Command {
    let store = layout.cache.join("buildah");
    let mut buildah = command("buildah", ["--storage-driver=vfs", "--root"]);
    buildah.arg(store.join("root")).arg("--runroot").arg(store.join("run"));
    buildah
}

fn remove_if_there(path: &Path) -> Result<()> {
    if path.exists() {
        say(&format!("removing {}, left by a killed build", path.display()));
        fs::remove_file(path)?;
    }
    Ok(())
}
