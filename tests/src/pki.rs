//! The certificates of the cluster: one authority, one certificate per component, made by openssl on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{command, run};
use crate::layout::Layout;
use crate::machine::{ADDRESS, NODE_NAME, SERVICE_API_ADDRESS};

/// One certificate: its file name, its user and group as the API server sees them, and the names it may serve under.
struct Certificate {
    file: &'static str,
    user: String,
    group: &'static str,
    names: String,
}

/// Makes whatever is missing of the authority, the certificates and the key that signs service account tokens.
pub fn ensure(layout: &Layout) -> Result<()> {
    let folder = layout.at("pki");
    fs::create_dir_all(&folder)?;
    run(command("chmod", ["700"]).arg(&folder))?;
    if !folder.join("ca.crt").exists() {
        authority(&folder)?;
    }
    for certificate in certificates() {
        if !folder.join(format!("{}.crt", certificate.file)).exists() {
            issue(&folder, &certificate)?;
        }
    }
    if !folder.join("service-accounts.key").exists() {
        into_place(&folder, &["service-accounts.key"], |temporary| {
            let mut generate = command(
                "openssl",
                ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            );
            generate.arg("-out").arg(temporary.join("service-accounts.key"));
            run(&mut generate).map(drop)
        })?;
    }
    Ok(())
}

/// The authority's certificate.
pub fn authority_path(layout: &Layout) -> PathBuf {
    layout.at("pki/ca.crt")
}

fn certificates() -> Vec<Certificate> {
    let serving = format!(
        "IP:{ADDRESS},IP:{SERVICE_API_ADDRESS},DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,\
         DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    );
    let plain = |file: &'static str, user: &str, group| Certificate {
        file,
        user: user.to_owned(),
        group,
        names: format!("DNS:{file}"),
    };
    vec![
        Certificate {
            file: "apiserver",
            user: "kube-apiserver".into(),
            group: "artstore",
            names: serving,
        },
        Certificate {
            file: "etcd",
            user: "etcd".into(),
            group: "artstore",
            names: format!("IP:{ADDRESS}"),
        },
        Certificate {
            file: "kubelet",
            user: format!("system:node:{NODE_NAME}"),
            group: "system:nodes",
            names: format!("IP:{ADDRESS},DNS:{NODE_NAME}"),
        },
        plain("apiserver-etcd", "kube-apiserver-etcd-client", "artstore"),
        plain("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
        plain("admin", "artstore-admin", "system:masters"),
        plain("controller-manager", "system:kube-controller-manager", "artstore"),
        plain("scheduler", "system:kube-scheduler", "artstore"),
        plain("kube-proxy", "system:kube-proxy", "artstore"),
        plain("coredns", "artstore:coredns", "artstore"),
        plain("local-path-provisioner", "artstore:local-path-provisioner", "artstore"),
    ]
}

fn authority(folder: &Path) -> Result<()> {
    into_place(folder, &["ca.key", "ca.crt"], |temporary| {
        let mut request = new_key(temporary, "ca");
        request.args([
            "-subj",
            "/CN=artstore-cluster",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ]);
        request.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        run(&mut request).map(drop)
    })
}

fn issue(folder: &Path, certificate: &Certificate) -> Result<()> {
    let file = certificate.file;
    into_place(folder, &[&format!("{file}.key"), &format!("{file}.crt")], |temporary| {
        let mut request = new_key(temporary, file);
        request
            .arg("-CA")
            .arg(folder.join("ca.crt"))
            .arg("-CAkey")
            .arg(folder.join("ca.key"));
        request.args(["-subj", &format!("/O={}/CN={}", certificate.group, certificate.user)]);
        request.args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "keyUsage=critical,digitalSignature",
        ]);
        request.args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
        request.args(["-addext", &format!("subjectAltName={}", certificate.names)]);
        run(&mut request).map(drop)
    })
    .with_context(|| format!("failed to make the certificate {file:?}"))
}

/// A request for a self-contained certificate with a new key, good for ten years: the cluster lives shorter.
fn new_key(folder: &Path, file: &str) -> std::process::Command {
    let mut request = command("openssl", ["req", "-x509", "-nodes", "-days", "3650", "-newkey", "ec"]);
    request
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config"])
        .arg(folder.join("openssl.cnf"))
        .arg("-keyout");
    request
        .arg(folder.join(format!("{file}.key")))
        .arg("-out")
        .arg(folder.join(format!("{file}.crt")));
    request
}

/// Makes files in a temporary folder and renames them in the order given; the last one is what says that all are there.
fn into_place(folder: &Path, files: &[&str], make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = tempfile::tempdir_in(folder)?;
    // Nothing of the machine's own openssl.cnf: its extensions would come on top of ours.
    fs::write(
        temporary.path().join("openssl.cnf"),
        "[req]\ndistinguished_name = name\n[name]\n",
    )?;
    make(temporary.path())?;
    for file in files {
        fs::rename(temporary.path().join(file), folder.join(file))?;
    }
    Ok(())
}
