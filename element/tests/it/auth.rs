//! Who may do what, in which mode; and attacks on tokens, through the whole server.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::client::{form, send};
use crate::harness::keys::{KEYS, Keys, claims};
use crate::harness::{Element, Setup};

/// One request for each operation; each is answered 2xx when it is allowed.
fn requests(element: &Element, id: &str, victim: &str) -> [(&'static str, u16, RequestBuilder); 8] {
    let client = &element.client;
    let metadata = format!("/files/{id}/metadata");
    [
        (
            "create",
            201,
            client
                .request("POST", "/files/upload")
                .multipart(form("new.txt", b"new", &[])),
        ),
        ("read", 200, client.request("GET", &format!("/files/{id}"))),
        ("read", 200, client.request("GET", &format!("/files/{id}/download"))),
        (
            "update",
            200,
            client.request("PATCH", &metadata).json(&json!({ "description": "x" })),
        ),
        ("delete", 204, client.request("DELETE", &format!("/files/{victim}"))),
        ("search", 200, client.request("GET", &metadata)),
        ("search", 200, client.request("GET", "/files")),
        ("search", 200, client.request("GET", "/files/search?q=a")),
    ]
}

fn mode_allows(mode: &str, operation: &str) -> bool {
    match operation {
        "create" | "update" => matches!(mode, "edit" | "rw"),
        "read" => mode != "ar",
        "delete" => mode == "edit",
        _ => true,
    }
}

fn role_allows(role: &str, operation: &str) -> bool {
    match role {
        "user" => operation != "delete",
        "operator" | "admin" => true,
        _ => false,
    }
}

#[tokio::test]
async fn role_and_mode_decide_every_operation() {
    let setup = Setup::embedded();
    let ids: Vec<String> = {
        let element = setup.start().await;
        let mut ids = Vec::new();
        for number in 0..5 {
            let file = element.client.store(&format!("{number}.txt"), b"abc").await;
            ids.push(file["file_id"].as_str().unwrap().to_owned());
        }
        element.stop().await;
        ids
    };
    let mut victims = ids[1..].iter();
    for mode in ["edit", "rw", "ro", "ar"] {
        let kept = json!({ "mode": mode, "since": "2026-01-01T00:00:00Z", "generation": 0, "history": [] });
        std::fs::write(setup.root().join(".artstore/mode.json"), kept.to_string()).unwrap();
        let element = setup.start().await;
        for role in ["user", "operator", "admin", "stranger"] {
            let may_delete = role_allows(role, "delete") && mode_allows(mode, "delete");
            let victim = if may_delete { victims.next().unwrap() } else { &ids[0] };
            for (operation, success, request) in requests(&element, &ids[0], victim) {
                let answer = send(request.bearer_auth(KEYS.token(role))).await;
                println!("{mode} {role} {operation}");
                if !role_allows(role, operation) {
                    answer.expect_problem(403, "FORBIDDEN");
                } else if !mode_allows(mode, operation) {
                    answer.expect_problem(409, "MODE_NOT_ALLOWED");
                } else {
                    answer.expect(success);
                }
            }
        }
        for (_, _, request) in requests(&element, &ids[0], &ids[0]) {
            send(request).await.expect_problem(401, "UNAUTHORIZED");
        }
        element.stop().await;
    }
}

#[tokio::test]
async fn open_paths_need_no_token() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    for path in ["/info", "/capacity", "/health/live", "/health/ready", "/metrics"] {
        send(element.client.request("GET", path)).await.expect(200);
    }
    send(element.client.request("GET", "/mode"))
        .await
        .expect_problem(401, "UNAUTHORIZED");
    for role in ["user", "operator", "admin"] {
        send(element.client.by(role, "GET", "/mode")).await.expect(200);
    }
    send(element.client.by("stranger", "GET", "/mode"))
        .await
        .expect_problem(403, "FORBIDDEN");
}

/// An admin's claims for this issuer and audience, with changes; null leaves a claim out.
fn with(changes: Value) -> Value {
    let mut claims = claims("admin");
    claims["iss"] = json!("issuer");
    claims["aud"] = json!("artstore");
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

#[tokio::test]
async fn attacks_are_refused_everywhere() {
    let mut setup = Setup::embedded();
    setup.set("JWT_ISSUER", "issuer");
    setup.set("JWT_AUDIENCE", "artstore");
    let element = setup.start().await;
    let now = get_current_timestamp();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&with(json!({}))));
    let confused = EncodingKey::from_secret(KEYS.public_pem.as_bytes());
    let good = KEYS.sign(&with(json!({})));
    send(element.client.request("GET", "/files").bearer_auth(&good))
        .await
        .expect(200);
    for (attack, token) in [
        ("alg none", none),
        (
            "HS256 by the public key",
            encode(&Header::default(), &with(json!({})), &confused).unwrap(),
        ),
        ("another key", Keys::new().sign(&with(json!({})))),
        ("expired", KEYS.sign(&with(json!({ "exp": now - 60 })))),
        ("no exp", KEYS.sign(&with(json!({ "exp": null })))),
        ("no iat", KEYS.sign(&with(json!({ "iat": null })))),
        ("no sub", KEYS.sign(&with(json!({ "sub": null })))),
        ("not yet", KEYS.sign(&with(json!({ "nbf": now + 600 })))),
        ("wrong issuer", KEYS.sign(&with(json!({ "iss": "other" })))),
        ("no issuer", KEYS.sign(&with(json!({ "iss": null })))),
        ("wrong audience", KEYS.sign(&with(json!({ "aud": "other" })))),
        ("cut", good[..good.len() - 10].to_owned()),
        ("garbage", "garbage".to_owned()),
    ] {
        println!("{attack}");
        for (method, path) in [
            ("GET", "/files"),
            ("POST", "/files/upload"),
            ("POST", "/mode/transition"),
            ("GET", "/mode"),
        ] {
            let answer = send(element.client.request(method, path).bearer_auth(&token)).await;
            answer.expect_problem(401, "UNAUTHORIZED");
            assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
        }
    }
    for value in ["", "Bearer", "Basic YWxpY2U6eA==", &good] {
        let request = element.client.request("GET", "/files").header("authorization", value);
        send(request).await.expect_problem(401, "UNAUTHORIZED");
    }
    let log = element.stderr.text();
    assert!(
        !log.contains(&good) && !log.contains("eyJ"),
        "no token in the log:\n{log}"
    );
}

#[tokio::test]
async fn refused_upload_is_answered_before_its_body() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    // Larger than the buffers between, so the client is still sending when the answer comes.
    let content = vec![7; 8 << 20];
    let upload = |request: RequestBuilder| send(request.multipart(form("a.bin", &content, &[])));
    upload(element.client.request("POST", "/files/upload"))
        .await
        .expect_problem(401, "UNAUTHORIZED");
    upload(element.client.by("stranger", "POST", "/files/upload"))
        .await
        .expect_problem(403, "FORBIDDEN");
    crate::limits::assert_empty(&element).await;
}
