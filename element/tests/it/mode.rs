//! Modes through the API and by the operator's file.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::client::{form, send};
use crate::harness::{Element, Setup, eventually};

const ADMIN_TOKEN: &str = "an-admin-token-of-more-than-32-characters";

fn ask(element: &Element, body: Value) -> RequestBuilder {
    element.client.by("admin", "POST", "/mode/transition").json(&body)
}

fn by_operator(element: &Element, body: Value) -> RequestBuilder {
    element
        .client
        .request("POST", "/mode/transition")
        .bearer_auth(ADMIN_TOKEN)
        .json(&body)
}

#[tokio::test]
async fn admin_moves_the_element_and_a_restart_keeps_it() {
    for mut setup in Setup::each().await {
        setup.set("APP_MODE", "rw");
        let element = setup.start().await;
        let file = element.client.store("a.txt", b"abc").await;
        for role in ["user", "operator"] {
            let request = element
                .client
                .by(role, "POST", "/mode/transition")
                .json(&json!({ "target_mode": "ro" }));
            send(request).await.expect_problem(403, "FORBIDDEN");
        }
        let state = send(ask(&element, json!({ "target_mode": "ro", "reason": "audit" })))
            .await
            .expect(200)
            .json();
        assert_eq!(state["mode"], "ro");
        let last = state["history"].as_array().unwrap().last().unwrap();
        for (name, value) in [("from", "rw"), ("to", "ro"), ("by", "admin-1"), ("reason", "audit")] {
            assert_eq!(last[name], value);
        }
        let line: Value = serde_json::from_str(&element.stderr.wait_for("the mode changed").await).unwrap();
        let audited = ["audit", "from", "to", "by", "reason"].map(|name| line[name].clone());
        assert_eq!(json!(audited), json!([true, "rw", "ro", "admin-1", "audit"]), "{line}");
        element
            .client
            .upload("b.txt", b"abc", &[])
            .await
            .expect_problem(409, "MODE_NOT_ALLOWED");
        send(ask(&element, json!({ "target_mode": "rw" })))
            .await
            .expect_problem(409, "CONFIRMATION_REQUIRED");
        send(ask(&element, json!({ "target_mode": "edit" })))
            .await
            .expect_problem(409, "INVALID_TRANSITION");
        send(ask(&element, json!({ "target_mode": "rw", "confirm": true })))
            .await
            .expect(200);
        element.client.store("b.txt", b"abc").await;
        send(ask(&element, json!({ "target_mode": "ro" }))).await.expect(200);
        element.stop().await;

        setup.set("APP_MODE", "edit");
        let element = setup.start().await;
        let state = element.client.json("/mode").await;
        assert_eq!(
            (&state["mode"], state["history"].as_array().unwrap().len()),
            (&json!("ro"), 4)
        );
        send(ask(&element, json!({ "target_mode": "ar" }))).await.expect(200);
        let path = format!("/files/{}", file["file_id"].as_str().unwrap());
        element.client.get(&path).await.expect_problem(409, "MODE_NOT_ALLOWED");
        element.client.get(&format!("{path}/metadata")).await.expect(200);
        assert_eq!(element.client.json("/info").await["operations"], json!(["search"]));
        send(ask(&element, json!({ "target_mode": "ro", "confirm": true })))
            .await
            .expect_problem(409, "INVALID_TRANSITION");
    }
}

#[tokio::test]
async fn malformed_transitions_are_refused() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    for body in [
        json!({}),
        json!({ "target_mode": "readonly" }),
        json!({ "target_mode": 1 }),
        json!({ "target_mode": "ro", "force": true }),
        json!({ "target_mode": "ro", "generation": 1.5 }),
        json!({ "target_mode": "ro", "generation": 1e300 }),
        json!({ "target_mode": "ro", "generation": "1" }),
        json!({ "target_mode": "ro", "confirm": "yes" }),
        json!({ "target_mode": "ro", "reason": "x".repeat(2000) }),
        json!([]),
    ] {
        send(ask(&element, body)).await.expect_problem(400, "VALIDATION_ERROR");
    }
    send(ask(&element, json!({ "target_mode": "ro", "generation": 1 })))
        .await
        .expect_problem(403, "FORBIDDEN");
    let text = element
        .client
        .by("admin", "POST", "/mode/transition")
        .body("target_mode=ro");
    send(text).await.expect_problem(400, "VALIDATION_ERROR");
    assert_eq!(
        send(ask(&element, json!({ "target_mode": "edit" })))
            .await
            .expect(200)
            .json()["mode"],
        "edit"
    );
}

fn managed(mode: &str) -> Setup {
    let mut setup = Setup::embedded();
    let file = setup.file("mode.json", &json!({ "mode": mode, "generation": 1 }).to_string());
    setup.set("APP_MODE_FILE", file.to_str().unwrap());
    let token = setup.file("admin-token", &format!("{ADMIN_TOKEN}\n"));
    setup.set("ADMIN_TOKEN_FILE", token.to_str().unwrap());
    setup
}

async fn generation(element: &Element) -> (Value, Value) {
    let info = element.client.json("/info").await;
    (info["mode"].clone(), info["mode_generation"].clone())
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "nothing here must survive a power cut")]
async fn mode_file_rules_and_people_are_refused() {
    let setup = managed("rw");
    let element = setup.start().await;
    assert_eq!(generation(&element).await, (json!("rw"), json!(1)));
    send(ask(&element, json!({ "target_mode": "ro" })))
        .await
        .expect_problem(409, "MODE_MANAGED");

    // As a mounted ConfigMap changes: a new file is moved into the old one's place.
    let next = setup.file("mode.json.new", &json!({ "mode": "ro", "generation": 2 }).to_string());
    std::fs::rename(next, setup.folder.path().join("mode.json")).unwrap();
    eventually("the file's mode is taken", async || {
        generation(&element).await == (json!("ro"), json!(2))
    })
    .await;

    setup.file("mode.json", &json!({ "mode": "edit", "generation": 3 }).to_string());
    eventually("the impossible mode is seen to be refused", async || {
        element.client.json("/mode").await["refused"]["mode"] == "edit"
    })
    .await;
    assert_eq!(generation(&element).await, (json!("ro"), json!(2)));
    assert!(element.stderr.text().contains("the mode file was refused"));
    let metrics = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("artstore_element_mode_file_refused 1"), "{metrics}");

    setup.file("mode.json", &json!({ "mode": "rw", "generation": 4 }).to_string());
    eventually("the next mode is taken", async || {
        generation(&element).await == (json!("rw"), json!(4))
    })
    .await;
    element.stop().await;

    setup.file("mode.json", &json!({ "mode": "ro", "generation": 5 }).to_string());
    let element = setup.start().await;
    assert_eq!(generation(&element).await, (json!("ro"), json!(5)));
}

#[tokio::test]
async fn operator_token_moves_the_mode_and_opens_nothing_else() {
    let setup = managed("rw");
    let element = setup.start().await;
    send(by_operator(&element, json!({ "target_mode": "ro" })))
        .await
        .expect_problem(409, "MODE_MANAGED");
    let newer = json!({ "target_mode": "ro", "generation": 2.0 });
    let state = send(by_operator(&element, newer.clone())).await.expect(200).json();
    assert_eq!(
        (&state["mode"], &state["generation"], &state["managed"]),
        (&json!("ro"), &json!(2), &json!(true))
    );
    send(by_operator(&element, newer)).await.expect(200);
    let stale = json!({ "target_mode": "rw", "generation": 2 });
    send(by_operator(&element, stale))
        .await
        .expect_problem(409, "INVALID_TRANSITION");
    send(element.client.request("GET", "/mode").bearer_auth(ADMIN_TOKEN))
        .await
        .expect(200);
    for (method, path) in [
        ("GET", "/files"),
        ("GET", "/files/search"),
        ("DELETE", "/files/00000000-0000-0000-0000-000000000000"),
    ] {
        let request = element.client.request(method, path).bearer_auth(ADMIN_TOKEN);
        send(request).await.expect_problem(403, "FORBIDDEN");
    }
    let upload = element.client.request("POST", "/files/upload").bearer_auth(ADMIN_TOKEN);
    send(upload.multipart(form("a.txt", b"abc", &[])))
        .await
        .expect_problem(403, "FORBIDDEN");
    let near = element
        .client
        .request("GET", "/mode")
        .bearer_auth(format!("{ADMIN_TOKEN}x"));
    send(near).await.expect_problem(401, "UNAUTHORIZED");
    assert!(!element.stderr.text().contains(ADMIN_TOKEN));
}

#[tokio::test]
async fn temporary_files_are_for_mode_edit() {
    let mut setup = Setup::embedded();
    setup.set("APP_MODE", "rw");
    let element = setup.start().await;
    let fields = [("retention_policy", "temporary")];
    element
        .client
        .upload("a.txt", b"abc", &fields)
        .await
        .expect_problem(409, "MODE_NOT_ALLOWED");
    crate::limits::assert_empty(&element).await;
}
