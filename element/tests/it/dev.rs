//! Trying the element out: `--dev`, `token`, and the smoke test.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::Setup;
use crate::harness::client::send;
use crate::harness::keys::KEYS;

fn dev() -> Setup {
    let mut setup = Setup::embedded();
    setup.unset("JWT_PUBLIC_KEY_PATH");
    setup.unset("SERVER_HOST");
    setup
}

#[tokio::test]
async fn pasted_lines_store_and_find_a_file() {
    let setup = dev();
    let element = setup.start_unready(&["serve", "--dev"]).await;
    element.wait_ready().await;
    assert!(element.client.address.ip().is_loopback());
    element.stdout.wait_for("export TOKEN=").await;
    element.stdout.wait_for("/info").await;
    let script = format!("set -e\n{}", element.stdout.text());
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(setup.folder.path())
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<Value> = serde_json::Deserializer::from_str(&printed)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers.len(), 3, "{printed}");
    assert_eq!(answers[0]["original_filename"], "hello.txt");
    assert_eq!(
        (&answers[1]["total"], &answers[2]["files"]),
        (&Value::from(1), &Value::from(1))
    );

    let key = setup.root().join(".artstore/dev-key.pem");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn token_of_the_dev_key_is_good_for_its_role_across_restarts() {
    let setup = dev();
    let (code, _, stderr) = setup.run(&["token", "--role", "admin", "--sub", "alice"]).await;
    assert!(code == 1 && stderr.contains("serve --dev"), "{stderr}");
    let element = setup.start_unready(&["serve", "--dev"]).await;
    element.wait_ready().await;
    let (code, user, _) = setup
        .run(&["token", "--role", "user", "--sub", "alice", "--ttl", "5m"])
        .await;
    assert_eq!(code, 0);
    let (_, operator, _) = setup.run(&["token", "--role", "operator", "--sub", "bob"]).await;
    send(element.client.request("GET", "/files").bearer_auth(user.trim()))
        .await
        .expect(200);
    let missing = "/files/00000000-0000-0000-0000-000000000000";
    send(element.client.request("DELETE", missing).bearer_auth(user.trim()))
        .await
        .expect_problem(403, "FORBIDDEN");
    send(element.client.request("DELETE", missing).bearer_auth(operator.trim()))
        .await
        .expect_problem(404, "NOT_FOUND");
    element.stop().await;
    let element = setup.start_unready(&["serve", "--dev"]).await;
    element.wait_ready().await;
    send(element.client.request("GET", "/files").bearer_auth(user.trim()))
        .await
        .expect(200);
}

#[tokio::test]
async fn token_of_a_given_key_is_good_where_that_key_is_trusted() {
    let setup = Setup::embedded();
    let key = setup.file("private.pem", &KEYS.private_pem);
    let element = setup.start().await;
    let words = ["token", "--role", "user", "--sub", "alice", "--key-file"];
    let (code, token, stderr) = setup.run(&[&words[..], &[key.to_str().unwrap()]].concat()).await;
    assert_eq!(code, 0, "{stderr}");
    let request = element.client.request("GET", "/info").bearer_auth(token.trim());
    send(request).await.expect(200);
    let (code, _, stderr) = setup.run(&[&words[..], &["missing.pem"]].concat()).await;
    assert!(code != 0 && stderr.contains("--key-file \"missing.pem\""), "{stderr}");
}

#[tokio::test]
async fn wrong_words_for_a_token_are_refused() {
    let setup = dev();
    for words in [
        ["--role", "root", "--ttl", "1h"],
        ["--role", "user", "--ttl", "soon"],
        ["--role", "user", "--ttl", "0s"],
    ] {
        let (code, stdout, stderr) = setup.run(&[&["token", "--sub", "a"], &words[..]].concat()).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    }
}

#[tokio::test]
async fn smoke_test_passes_on_a_working_element_and_leaves_nothing() {
    for mut setup in Setup::both().await {
        let key = setup.file("private.pem", &KEYS.private_pem);
        let key = key.to_str().unwrap();
        setup.set("JWT_ISSUER", "issuer");
        let element = setup.start().await;
        let endpoint = format!("http://{}", element.client.address);
        let (code, stdout, stderr) = setup
            .run(&["smoke-test", "--endpoint", &endpoint, "--key-file", key])
            .await;
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert!(stdout.contains("the element works"), "{stdout}");
        crate::limits::assert_empty(&element).await;
        let other = setup.file("other.pem", &crate::harness::keys::Keys::new().private_pem);
        let words = [
            "smoke-test",
            "--endpoint",
            &endpoint,
            "--key-file",
            other.to_str().unwrap(),
        ];
        let (code, _, stderr) = setup.run(&words).await;
        assert!(code == 1 && stderr.contains("401"), "{stderr}");
        element.stop().await;
        let (code, _, stderr) = setup
            .run(&["smoke-test", "--endpoint", &endpoint, "--key-file", key])
            .await;
        assert!(code == 1 && stderr.contains("/info"), "{stderr}");
    }
}
