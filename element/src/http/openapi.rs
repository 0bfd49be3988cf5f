//! The API's description (OpenAPI 3.1): its frame, how calls fail, and what all of them have in common. What a call takes and answers
//! stands beside its handler, in `#[utoipa::path]`; a call that is routed by `routes!` is described.
//!
//! Describing a new call: `failures!(Name: Code, …)` lists the codes it fails with, `responses((status = 200, …), Name)` names them.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response as HttpResponse};
use element_api::{ErrorCode, Problem};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Object, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, Modify, ToSchema};

use super::error::ApiError;
use crate::state::App;

/// The names of the two kinds of tokens.
pub(super) const TOKEN: &str = "token";
const ADMIN_TOKEN: &str = "operator";

/// Says how calls fail: the codes their problem documents carry. Each also fails with `INTERNAL_ERROR`.
macro_rules! failures {
    ($name:ident: $($code:ident),* $(,)?) => {
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::http::openapi::problems(&[$(element_api::ErrorCode::$code),*])
            }
        }
    };
}
pub(super) use failures;

/// The frame: everything but the calls.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "ArtStore storage element",
        description = "Keeps files and their metadata. A failed call answers with a problem document (RFC 9457) whose `code` is stable.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem, ErrorCode)),
    security(("token" = [])),
    tags(
        (name = "files", description = "Files and their metadata."),
        (name = "element", description = "What the element is, its mode and its room."),
        (name = "maintenance", description = "Tasks that look after the files; for admins."),
        (name = "health", description = "For probes and monitoring; open to everybody.")
    ),
    modifiers(&Tokens)
)]
struct Frame;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_with(Components::new);
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "An RS256 token with `sub`, `iat`, `exp` and a role: user, operator or admin.",
            ));
        components.add_security_scheme(TOKEN, SecurityScheme::Http(token.build()));
        let mut admin = Http::new(HttpAuthScheme::Bearer);
        admin.description =
            Some("The operator's own token (ADMIN_TOKEN_FILE): good for the mode and maintenance only.".to_owned());
        components.add_security_scheme(ADMIN_TOKEN, SecurityScheme::Http(admin));
    }
}

/// The description to begin with.
pub(super) fn frame() -> OpenApi {
    <Frame as utoipa::OpenApi>::openapi()
}

/// The whole description as text, from what the routes have gathered.
pub(super) fn text(mut openapi: OpenApi) -> Result<String, serde_json::Error> {
    for item in openapi.paths.paths.values_mut() {
        add_head(item);
        for operation in operations(item) {
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    response.headers.insert(
                        "X-Request-Id".to_owned(),
                        described("The request's id, to find it in the logs.").into(),
                    );
                }
            }
        }
    }
    serde_json::to_string_pretty(&openapi).map(|text| text + "\n")
}

/// Every GET is answered to HEAD too: the same without content, and never in part.
fn add_head(item: &mut PathItem) {
    let Some(mut head) = item.get.clone() else { return };
    head.operation_id = head.operation_id.map(|id| format!("{id}_head"));
    head.summary = head.summary.map(|summary| format!("{summary} Without the content."));
    head.responses
        .responses
        .retain(|status, _| !matches!(status.as_str(), "206" | "416"));
    for response in head.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
    if let Some(parameters) = &mut head.parameters {
        let partial = |name: &str| name == "Range" || name == "If-Range";
        parameters.retain(|parameter| !matches!(parameter, RefOr::T(parameter) if partial(&parameter.name)));
    }
    item.head = Some(head);
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get,
        &mut item.head,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
        &mut item.put,
    ];
    all.into_iter().flatten()
}

/// The answers of a call that fails with these codes, by status.
pub(super) fn problems(codes: &[ErrorCode]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes.iter().chain(&[ErrorCode::InternalError]) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), problem(status, &codes).into()))
        .collect()
}

fn problem(status: u16, codes: &[ErrorCode]) -> Response {
    let lines: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", word(*code).as_str().unwrap_or_default(), code.title()))
        .collect();
    let narrowed = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("code", values(Type::String, codes.iter().map(|code| word(*code))))
        .property("status", values(Type::Integer, [json!(status)]));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(narrowed);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(lines.join(" "))
        .content("application/problem+json", content);
    let named = match status {
        401 => Some((
            "WWW-Authenticate",
            "How to authenticate, and what is wrong with the token.",
        )),
        416 => Some(("Content-Range", "`bytes */SIZE`, the file's size.")),
        503 => Some(("Retry-After", "Seconds after which to try again.")),
        _ => None,
    };
    match named {
        Some((name, description)) => response.header(name, described(description)).build(),
        None => response.build(),
    }
}

fn values(kind: Type, values: impl IntoIterator<Item = Value>) -> Object {
    ObjectBuilder::new().schema_type(kind).enum_values(Some(values)).build()
}

fn word(code: ErrorCode) -> Value {
    json!(code)
}

/// A header of an answer.
pub(super) fn described(description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(Type::String)))
        .description(Some(description))
        .build()
}

/// The path's file.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes, and is never made")]
pub(super) struct FileId {
    /// The file's id.
    id: uuid::Uuid,
}

/// Conditions of a read (RFC 9110, section 13), weighed in the order of section 13.2.2.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes, and is never made")]
pub(super) struct ReadConditions {
    /// Entity tags, or `*`: 412 when none fits.
    #[param(rename = "If-Match", value_type = String, required = false)]
    if_match: Option<String>,
    /// A date: 412 when it changed later.
    #[param(rename = "If-Unmodified-Since", value_type = String, required = false)]
    if_unmodified_since: Option<String>,
    /// Entity tags, or `*`: 304 when one fits.
    #[param(rename = "If-None-Match", value_type = String, required = false)]
    if_none_match: Option<String>,
    /// A date: 304 when it did not change later.
    #[param(rename = "If-Modified-Since", value_type = String, required = false)]
    if_modified_since: Option<String>,
}

/// Conditions of a change.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes, and is never made")]
pub(super) struct ChangeConditions {
    /// Entity tags, or `*`: 412 when none fits.
    #[param(rename = "If-Match", value_type = String, required = false)]
    if_match: Option<String>,
    /// A date: 412 when it changed later.
    #[param(rename = "If-Unmodified-Since", value_type = String, required = false)]
    if_unmodified_since: Option<String>,
    /// Entity tags, or `*`: 412 when one fits.
    #[param(rename = "If-None-Match", value_type = String, required = false)]
    if_none_match: Option<String>,
}

/// A text without the character NUL, which no database here can keep.
#[derive(Serialize, ToSchema)]
#[schema(pattern = "^[^\\u0000]*$")]
pub(super) struct Text(String);

/// A value of a file's metadata, or null to remove it.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes, and is never made")]
pub(super) enum ValueOrNull {
    Bool(bool),
    Number(f64),
    Text(Text),
    Null,
}

failures!(Failures:);

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "health",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object), Failures)
)]
pub(super) async fn openapi(State(_): State<App>) -> Result<HttpResponse, ApiError> {
    static TEXT: std::sync::OnceLock<Bytes> = std::sync::OnceLock::new();
    let text = match TEXT.get() {
        Some(text) => text.clone(),
        None => {
            let text = super::description().map_err(|error| ApiError::internal(error.to_string()))?;
            TEXT.get_or_init(|| text.into()).clone()
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::http::description;

    fn document() -> Value {
        serde_json::from_str(&description().unwrap()).unwrap()
    }

    #[test]
    fn committed_description_is_the_one_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == description().unwrap(),
            "docs/openapi.json is stale: run make openapi"
        );
    }

    #[test]
    fn calls_of_the_contract_are_described() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        for (path, methods) in [
            ("/api/v1/files", vec!["get"]),
            ("/api/v1/files/search", vec!["get"]),
            ("/api/v1/files/upload", vec!["post"]),
            ("/api/v1/files/{id}", vec!["get", "head", "delete"]),
            ("/api/v1/files/{id}/download", vec!["get", "head"]),
            ("/api/v1/files/{id}/metadata", vec!["get", "head", "patch"]),
            ("/api/v1/info", vec!["get"]),
            ("/api/v1/capacity", vec!["get"]),
            ("/api/v1/mode", vec!["get"]),
            ("/api/v1/mode/transition", vec!["post"]),
            ("/api/v1/maintenance/{kind}", vec!["post"]),
            ("/api/v1/maintenance/tasks/{id}", vec!["get"]),
            ("/health/live", vec!["get"]),
            ("/health/ready", vec!["get"]),
            ("/metrics", vec!["get"]),
        ] {
            for method in methods {
                assert!(document["paths"][path][method].is_object(), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_call_names_its_failures_and_has_an_id_of_its_own() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                assert!(
                    responses.keys().any(|status| status.starts_with('5')),
                    "{method} {path}"
                );
                for (status, response) in responses {
                    assert!(
                        response["headers"]["X-Request-Id"].is_object(),
                        "{method} {path} {status}"
                    );
                }
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(
                    ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                    "{method} {path}"
                );
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|member| walk(member, document));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }
}
