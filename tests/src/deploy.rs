//! The operator on the local cluster by its chart, and what elements need of their namespace. It decides nothing about
//! what is deployed: the demo and the tests do.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::{command, run};
use crate::control_plane::{apply, kubectl};
use crate::layout::Layout;
use crate::{image, infra, release, tools};

/// The Secret with the public key, as a fleet names it.
pub const AUTH_SECRET: &str = "artstore-auth";
/// The Secret with the private key, beside the operator, for `helm test`.
const SIGNING_SECRET: &str = "artstore-signing-key";

/// One installation of the operator.
#[derive(Debug, Clone, Copy)]
pub struct Operator<'a> {
    /// The release's name.
    pub release: &'a str,
    /// Where it runs.
    pub namespace: &'a str,
    /// The namespaces it looks after; all of them when empty.
    pub watched: &'a [&'a str],
    /// Whether the release brings the definitions of the custom resources.
    pub definitions: bool,
    /// The element that `helm test` tries, as in `http://storage-01.artstore.svc:8010`.
    pub tested: Option<&'a str>,
}

impl Operator<'_> {
    /// Installs or upgrades it and waits until it runs.
    pub fn install(&self, layout: &Layout) -> Result<()> {
        self.clear_killed_install(layout)?;
        let mut install = helm(layout)?;
        install.args(["upgrade", "--install", self.release]);
        install.arg(layout.checkout().join("charts/artstore-operator"));
        install.args(["--namespace", self.namespace, "--create-namespace"]);
        install.args(["--wait", "--timeout=5m"]);
        if self.definitions {
            // Definitions that tests left on this cluster are no reason to stop.
            install.arg("--take-ownership");
        }
        let image = image::pinned(layout, &release::image_name("artstore-operator"))?;
        let (repository, tag) = image.rsplit_once(':').context("the image has no tag")?;
        let images = format!(
            "image.repository={repository},image.tag={tag},element.image={}",
            element_image(layout)?
        );
        install.args(["--set-string", &images]);
        if !self.watched.is_empty() {
            install.args(["--set", &format!("watchNamespaces={{{}}}", self.watched.join(","))]);
        }
        install.args(["--set", &format!("crds.create={}", self.definitions)]);
        if let Some(endpoint) = self.tested {
            let test = format!("test.endpoint={endpoint},test.existingSecret={SIGNING_SECRET}");
            install.args(["--set-string", &test]);
        }
        run(&mut install).map(drop)
    }

    /// Runs `helm test` and returns what it and its pod said.
    pub fn test(&self, layout: &Layout) -> Result<String> {
        secret(
            layout,
            self.namespace,
            SIGNING_SECRET,
            &json!({"private.pem": signing_key(layout)?}),
        )?;
        let mut test = helm(layout)?;
        test.args(["test", self.release, "--namespace", self.namespace]);
        run(test.args(["--logs", "--timeout=5m"]))
    }

    /// Removes the release, if it is there. The definitions stay, and with them all elements.
    pub fn uninstall(&self, layout: &Layout) -> Result<()> {
        let mut uninstall = helm(layout)?;
        uninstall.args(["uninstall", self.release, "--namespace", self.namespace]);
        run(uninstall.args(["--ignore-not-found", "--wait", "--timeout=5m"])).map(drop)
    }

    /// helm refuses to touch a release whose installation was killed.
    fn clear_killed_install(&self, layout: &Layout) -> Result<()> {
        let mut list = helm(layout)?;
        list.args(["list", "--pending", "--short", "--namespace", self.namespace]);
        if run(&mut list)?.lines().any(|name| name == self.release) {
            self.uninstall(layout)?;
        }
        Ok(())
    }
}

/// The image of elements that name none.
pub fn element_image(layout: &Layout) -> Result<String> {
    image::pinned(layout, &release::image_name("artstore-element"))
}

/// Makes the two Secrets that a fleet of the local cluster names: the public key and PostgreSQL's administrator.
pub fn secrets(layout: &Layout, namespace: &str) -> Result<()> {
    signing_key(layout)?;
    let public = run(command("openssl", ["rsa", "-pubout", "-in"]).arg(layout.at(SIGNING_KEY)))?;
    secret(layout, namespace, AUTH_SECRET, &json!({"public.pem": public}))?;
    let admin = object(layout, infra::NAMESPACE, "secret", infra::ADMIN_SECRET)?;
    let copy = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": infra::ADMIN_SECRET, "namespace": namespace},
        "data": admin.get("data"),
    });
    apply(layout, &copy.to_string())
}

const SIGNING_KEY: &str = "pki/tokens.pem";

/// The private key that signs tokens, in PEM; made once per cluster.
pub fn signing_key(layout: &Layout) -> Result<String> {
    // Stories ask for it at once on a fresh cluster; two keys would make one half of them strangers to the other.
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let file = layout.at(SIGNING_KEY);
    if !file.exists() {
        let key = run(&mut command(
            "openssl",
            ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        ))?;
        let temporary = file.with_extension("new");
        fs::write(&temporary, key)?;
        fs::rename(&temporary, &file)?;
    }
    fs::read_to_string(&file).context("failed to read the signing key")
}

/// The address of an element's Service; kube-proxy makes it reachable from this machine too.
pub fn service_address(layout: &Layout, namespace: &str, name: &str) -> Result<String> {
    let field = "jsonpath={.spec.clusterIP}";
    kubectl(layout, ["get", "service", name, "-n", namespace, "-o", field])
}

/// One object.
pub fn object(layout: &Layout, namespace: &str, kind: &str, name: &str) -> Result<Value> {
    let text = kubectl(layout, ["get", kind, name, "-n", namespace, "-o", "json"])?;
    Ok(serde_json::from_str(&text)?)
}

/// All objects of a kind in a namespace.
pub fn objects(layout: &Layout, namespace: &str, kind: &str) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&kubectl(layout, ["get", kind, "-n", namespace, "-o", "json"])?)?;
    Ok(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// An element's condition, once the operator has seen the newest spec.
pub fn condition<'a>(element: &'a Value, kind: &str) -> Option<&'a Value> {
    let generation = element.pointer("/metadata/generation");
    let conditions = element.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| {
        condition.get("type").and_then(Value::as_str) == Some(kind) && condition.get("observedGeneration") == generation
    })
}

fn secret(layout: &Layout, namespace: &str, name: &str, data: &Value) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": data,
    });
    apply(layout, &secret.to_string())
}

/// helm as the administrator; a proxy of the person's environment has no business with this cluster.
fn helm(layout: &Layout) -> Result<Command> {
    let mut helm = command(tools::HELM.ensure(layout)?, [] as [&str; 0]);
    for unwanted in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        helm.env_remove(unwanted);
    }
    helm.env("KUBECONFIG", layout.kubeconfig_in_use());
    Ok(helm)
}
