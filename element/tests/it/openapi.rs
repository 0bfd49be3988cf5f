//! schemathesis: cases made from the API's own description, valid and not, against the real element over PostgreSQL. Every finding is
//! a defect, of the code or of the description.
//!
//! `ARTSTORE_TEST_SCHEMATHESIS` names the program, `ARTSTORE_TEST_API_EXAMPLES` how many cases of each call are tried.

use std::process::Stdio;

use tokio::process::Command;

use crate::harness::Setup;
use crate::harness::keys::KEYS;

/// What is cheap enough to be tried with every other test.
const SAMPLE: &str = "10";

#[tokio::test]
async fn answers_are_what_the_description_says() {
    let program = std::env::var_os("ARTSTORE_TEST_SCHEMATHESIS")
        .expect("ARTSTORE_TEST_SCHEMATHESIS must name schemathesis; `make test` sets it");
    let examples = std::env::var("ARTSTORE_TEST_API_EXAMPLES").unwrap_or_else(|_| SAMPLE.to_owned());
    let setup = Setup::postgres().await;
    let element = setup.start().await;
    for number in 0..3 {
        element.client.store(&format!("{number}.txt"), b"some content").await;
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/api");
    let mut command = Command::new(program);
    command.args([
        "--config-file",
        &format!("{folder}/schemathesis.toml"),
        "--no-color",
        "run",
    ]);
    command.arg(format!("http://{}/openapi.json", element.client.address));
    command.args(["--max-examples", &examples]);
    let output = command
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ARTSTORE_TEST_TOKEN", KEYS.token("admin"))
        .current_dir(setup.folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{printed}");
    let log = element.stderr.text();
    assert!(!log.contains("a handler panicked"), "{log}");
    element.stop().await;
}
