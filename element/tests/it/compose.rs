//! The compose file that runs an element without Kubernetes: it says nothing the element does not know.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::Setup;

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn compose() -> Value {
    let text = std::fs::read_to_string(checkout().join("deploy/compose.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// A service's own settings; what it merges in from elsewhere lies under `<<` where the reader does not merge.
fn variables(service: &Value) -> Vec<String> {
    let environment = &service["environment"];
    let merged = environment["<<"].as_object().into_iter().flatten();
    let own = environment
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "<<");
    merged.chain(own).map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn every_variable_and_command_is_one_the_element_knows() {
    let setup = Setup::embedded();
    for (name, service) in compose()["services"].as_object().unwrap() {
        let words: Vec<&str> = service["command"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let mut asked = words.clone();
        asked.push("--help");
        let (code, help, stderr) = setup.run(&asked).await;
        assert_eq!(code, 0, "{name}: {words:?} {stderr}");
        // Lines are wrapped anywhere.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let variables = variables(service);
        assert!(variables.len() > 5, "{variables:?}");
        for variable in variables {
            assert!(
                help.contains(&format!("[env: {variable}")),
                "{name} sets {variable}, which {words:?} does not know"
            );
        }
    }
}

#[test]
fn element_waits_for_its_database_and_keeps_its_files() {
    let compose = compose();
    let element = &compose["services"]["element"];
    assert_eq!(
        element["depends_on"]["migrate"]["condition"],
        "service_completed_successfully"
    );
    assert_eq!(element["volumes"][0], "files:/app/.data/storage");
    assert_eq!(compose["networks"]["shared"]["external"], true);
    for secret in element["secrets"].as_array().unwrap() {
        assert!(compose["secrets"][secret.as_str().unwrap()].is_object(), "{secret}");
    }
    let containerfile = compose["x-element"]["build"]["dockerfile"].as_str().unwrap();
    let text = std::fs::read_to_string(checkout().join(containerfile)).unwrap();
    assert!(
        text.contains("USER 65532:65532") && text.contains("/app/.data/storage"),
        "{text}"
    );
}

#[tokio::test]
async fn database_is_made_on_request_and_the_element_starts_on_it() {
    let mut setup = Setup::postgres().await;
    let name = format!("made_{}", uuid::Uuid::new_v4().simple());
    setup.set("DB_DATABASE", &name);
    let (code, _, stderr) = setup.run(&["migrate", "up"]).await;
    assert!(code == 1 && stderr.contains(&name), "{code} {stderr}");
    let (code, _, stderr) = setup.run(&["migrate", "status", "--create-database"]).await;
    assert!(code == 1 && stderr.contains("migrate up"), "{code} {stderr}");
    for _ in 0..2 {
        let (code, stdout, stderr) = setup.run(&["migrate", "up", "--create-database"]).await;
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.lines().all(|line| line.ends_with("applied")), "{stdout}");
    }
    let element = setup.start().await;
    element.client.store("a", b"content").await;
    element.stop().await;
    setup.drop_database(&name).await;
}
