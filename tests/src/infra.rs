//! PostgreSQL and Redis as pods, from an image of our own made of Debian packages.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::command::{command, run};
use crate::control_plane::{apply, kubectl};
use crate::image;
use crate::layout::Layout;
use crate::step::step;
use crate::tools::hex;

/// The image: PostgreSQL 15, Redis 7 and a shell. Volume helpers and test clients run it too.
pub const IMAGE: &str = "localhost/artstore-infra:local";
/// Where PostgreSQL and Redis run.
pub const NAMESPACE: &str = "artstore-infra";
/// The Secret, in [`NAMESPACE`], with the `username` and `password` of PostgreSQL's administrator.
pub const ADMIN_SECRET: &str = "postgres-admin";

const PACKAGES: &str = "postgresql-15,redis-server";

/// Files that stay out of the image: texts, and the compiler that PostgreSQL does without when its library is absent.
const UNUSED: [&str; 7] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/lib/x86_64-linux-gnu/libLLVM*",
    "/usr/lib/postgresql/15/lib/bitcode/*",
    "/usr/lib/postgresql/15/lib/llvmjit*",
];

/// The archive of the image; it is built first when it is not in the cache.
pub fn archive(layout: &Layout) -> Result<PathBuf> {
    let folder = layout.sources.join("images/infra");
    let containerfile = folder.join("Containerfile");
    let start = folder.join("start-postgres");
    let mut hash = Sha256::new();
    hash.update(PACKAGES);
    hash.update(UNUSED.concat());
    for file in [&containerfile, &start] {
        hash.update(fs::read(file).with_context(|| format!("failed to read {}", file.display()))?);
    }
    let key: String = hex(&hash.finalize()).chars().take(16).collect();
    let archive = image::archives(layout)?.join(format!("infra-{key}.tar"));
    if !archive.exists() {
        let context = tempfile::tempdir_in(&layout.cache)?;
        let files = context.path().join("debian.tar");
        step("gather Debian files for PostgreSQL and Redis", || {
            let mut gather = command("mmdebstrap", ["--variant=essential", "--quiet"]);
            gather.arg(format!("--include={PACKAGES}"));
            for unused in UNUSED {
                gather.arg(format!("--dpkgopt=path-exclude={unused}"));
            }
            run(gather.arg("bookworm").arg(&files)).map(drop)
        })?;
        fs::copy(&start, context.path().join("start-postgres"))?;
        step("build the image of PostgreSQL and Redis", || {
            image::build(layout, context.path(), &containerfile, None, IMAGE, &archive)
        })?;
    }
    Ok(archive)
}

/// Applies the manifests and waits until both answer.
pub fn ensure(layout: &Layout) -> Result<()> {
    apply(
        layout,
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string(),
    )?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": ADMIN_SECRET, "namespace": NAMESPACE},
        "stringData": {"username": "postgres", "password": password(layout)?},
    });
    apply(layout, &secret.to_string())?;
    apply(layout, include_str!("../cluster/manifests/infra.yaml"))?;
    step("wait for PostgreSQL and Redis", || {
        for workload in ["statefulset/postgres", "deployment/redis"] {
            kubectl(
                layout,
                ["rollout", "status", workload, "-n", NAMESPACE, "--timeout=180s"],
            )?;
        }
        Ok(())
    })
}

/// The administrator's password: random, made once per cluster.
fn password(layout: &Layout) -> Result<String> {
    let file = layout.at("pki/postgres-password");
    if !file.exists() {
        let temporary = file.with_extension("new");
        fs::write(&temporary, run(&mut command("openssl", ["rand", "-hex", "24"]))?.trim())?;
        fs::rename(&temporary, &file)?;
    }
    fs::read_to_string(&file).context("failed to read the password of PostgreSQL")
}
