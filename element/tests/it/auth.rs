//! Who may do what, in which mode.

use reqwest::RequestBuilder;
use serde_json::json;

use crate::harness::client::{form, send};
use crate::harness::keys::{KEYS, claims};
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

#[tokio::test]
async fn roles_and_scopes_of_a_token_decide_alike() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let id = element.client.store("a.txt", b"abc").await["file_id"]
        .as_str()
        .unwrap()
        .to_owned();
    // What the token says beside its subject; then whether it reads, stores, deletes, and changes the mode.
    for (claim, value, rights) in [
        ("roles", json!(["user"]), [true, true, false, false]),
        ("roles", json!(["stranger", "operator"]), [true, true, true, false]),
        ("roles", json!("admin"), [true, true, true, true]),
        ("roles", json!(["Admin", "root"]), [false; 4]),
        ("scope", json!("openid files:read"), [true, false, false, false]),
        ("scope", json!("files:read files:write"), [true, true, false, false]),
        ("scope", json!("files:write"), [false, true, false, false]),
        ("scope", json!("storage:write"), [true, true, true, false]),
        (
            "scopes",
            json!(["files:read", "storage:write"]),
            [true, true, true, false],
        ),
        ("scope", json!("admin operator files:*"), [false; 4]),
    ] {
        let mut claims = claims("user");
        claims.as_object_mut().unwrap().remove("role");
        claims[claim] = value.clone();
        let token = KEYS.sign(&claims);
        let client = &element.client;
        let requests = [
            (client.request("GET", &format!("/files/{id}")), 200),
            (
                client
                    .request("POST", "/files/upload")
                    .multipart(form("b.txt", b"b", &[])),
                201,
            ),
            // Allowed, it finds nothing to delete, or no mode of that name.
            (client.request("DELETE", &format!("/files/{}", uuid::Uuid::nil())), 404),
            (
                client
                    .request("POST", "/mode/transition")
                    .json(&json!({ "target_mode": "none" })),
                400,
            ),
        ];
        for ((request, allowed), right) in requests.into_iter().zip(rights) {
            let answer = send(request.bearer_auth(&token)).await;
            let status = if right { allowed } else { 403 };
            assert_eq!(
                answer.status,
                status,
                "{claim} {value}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
}
