//! What the demo puts on the cluster: the operator and the examples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use e2e::client::token;
use e2e::command::{run, wait_for};
use e2e::control_plane::{kubectl, kubectl_command};
use e2e::deploy::Operator;
use e2e::step::{say, step};
use e2e::{Layout, deploy, tools};
use serde_json::{Value, json};

/// Where the examples live.
pub(crate) const NAMESPACE: &str = "artstore";
/// The operator of the examples' namespace only: tests on the same cluster run operators of theirs.
const OPERATOR: Operator<'static> = Operator {
    release: "artstore-operator",
    namespace: "artstore-operator",
    watched: &[NAMESPACE],
    definitions: true,
    tested: None,
};
/// Generous: a slow machine starts all containers within it.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Installs or upgrades everything.
pub(crate) fn install(layout: &Layout) -> Result<()> {
    let examples = layout.checkout().join("examples");
    let apply_file = |file: &Path| run(kubectl_command(layout)?.args(["apply", "-f"]).arg(file)).map(drop);
    apply_file(&examples.join("00-namespace.yaml"))?;
    step("install the operator by helm", || OPERATOR.install(layout))?;
    step("apply the examples", || {
        deploy::secrets(layout, NAMESPACE)?;
        apply_file(&examples)
    })?;
    step("set the fleet's image", || {
        // Elements keep the image they run; the fleet's own choice is what rolls them to a new one.
        let image = json!({"spec": {"image": deploy::element_image(layout)?}}).to_string();
        kubectl(
            layout,
            [
                "patch",
                "storagefleet",
                "main",
                "-n",
                NAMESPACE,
                "--type=merge",
                "-p",
                &image,
            ],
        )
        .map(drop)
    })
}

/// Waits until all elements are ready, saying what each waits for, and returns their names.
pub(crate) fn wait_until_ready(layout: &Layout) -> Result<Vec<String>> {
    let mut said = BTreeMap::new();
    step("wait for the elements", || {
        wait_for("ready elements", READY_LIMIT, || {
            let mut all_ready = true;
            let rolled_out = rolled_out(layout)?;
            for element in deploy::objects(layout, NAMESPACE, "storageelements")? {
                let (name, ready, state) = readiness(&element, &rolled_out);
                all_ready &= ready;
                if said.get(&name) != Some(&state) {
                    say(&format!("           {name}: {state}"));
                    said.insert(name, state);
                }
            }
            Ok(all_ready && !said.is_empty())
        })
    })?;
    Ok(said.into_keys().collect())
}

/// Waits until the table counts at least that many files in each element: the operator asks them every half minute.
pub(crate) fn wait_until_counted(layout: &Layout, files: u64) -> Result<()> {
    step("wait for the operator to count the files", || {
        wait_for("the number of files", READY_LIMIT, || {
            let counted = |element: &Value| element.pointer("/status/files").and_then(Value::as_u64) >= Some(files);
            Ok(deploy::objects(layout, NAMESPACE, "storageelements")?
                .iter()
                .all(counted))
        })
    })
}

/// The table of elements.
pub(crate) fn table(layout: &Layout) -> Result<String> {
    kubectl(layout, ["get", "storageelements", "-n", NAMESPACE])
}

/// What a person may call next.
pub(crate) fn next_commands(layout: &Layout, names: &[String], key: &str) -> Result<Vec<String>> {
    let mut lines = vec![
        format!("export KUBECONFIG={}", layout.kubeconfig().display()),
        format!("alias kubectl={}", tools::KUBECTL.path(layout)?.display()),
        format!("kubectl get storageelements,pods -n {NAMESPACE}"),
        format!("TOKEN={}", token(key)?),
    ];
    for name in names {
        let address = deploy::service_address(layout, NAMESPACE, name)?;
        lines.push(format!(
            "curl --noproxy '*' -H \"Authorization: Bearer $TOKEN\" 'http://{address}:8010/api/v1/files?limit=3'"
        ));
    }
    lines.push("make cluster-down".into());
    Ok(lines)
}

/// The names of the Deployments that run the current image of the element, and nothing older.
fn rolled_out(layout: &Layout) -> Result<BTreeSet<String>> {
    let image = Value::from(deploy::element_image(layout)?);
    let deployments = deploy::objects(layout, NAMESPACE, "deployments")?;
    let current = deployments.iter().filter(|deployment| {
        let at = |path: &str| deployment.pointer(path).unwrap_or(&Value::Null);
        at("/spec/template/spec/containers/0/image") == &image
            && at("/metadata/generation") == at("/status/observedGeneration")
            && at("/spec/replicas") == at("/status/updatedReplicas")
            && at("/spec/replicas") == at("/status/availableReplicas")
            && at("/spec/replicas") == at("/status/replicas")
    });
    Ok(current
        .map(|deployment| text(deployment.pointer("/metadata/name")))
        .collect())
}

/// Name, whether it is ready with its newest spec and image, and that in words.
fn readiness(element: &Value, rolled_out: &BTreeSet<String>) -> (String, bool, String) {
    let name = text(element.pointer("/metadata/name"));
    match deploy::condition(element, "Ready") {
        None => (name, false, "waiting for the operator".into()),
        Some(condition) => {
            let state = format!("{}: {}", text(condition.get("reason")), text(condition.get("message")));
            let ready = text(condition.get("status")) == "True";
            match ready && !rolled_out.contains(&name) {
                true => (name, false, "the current image is not rolled out yet".into()),
                false => (name, ready, state),
            }
        }
    }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}
