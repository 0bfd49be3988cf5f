//! The elements' own API, as the operator uses it: `GET /api/v1/info`, now and then, and `POST /api/v1/mode/transition` when the
//! answer is behind the spec. Never inside a reconcile.
//!
//! A reconcile takes the last answer; asking happens beside it, and a new answer brings the next reconcile. The mode also reaches
//! the element by its mounted file; the request only saves the wait for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artstore_crds::StorageElement;
use element_api::{Info, Mode};
use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::clock::Clock;
use crate::telemetry::Chain;

/// How long an element may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest answer read, bytes.
const LARGEST_ANSWER: usize = 64 * 1024;

/// What an element last said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Answer {
    /// It has not been asked, or the first question is under way.
    #[default]
    Asking,
    /// It said this.
    Said(Arc<Info>),
    /// It did not answer the last time.
    Silent,
}

/// Whom to ask, and where.
#[derive(Clone, Debug)]
pub struct Target {
    /// Namespace of the element.
    pub namespace: String,
    /// Name of the element.
    pub name: String,
    /// Uid of the element; an answer of an earlier element of the same name does not count.
    pub uid: String,
    /// `http://ADDRESS:PORT`.
    pub url: String,
    /// The mode it should be in; `None` leaves it as it is.
    pub wish: Option<ModeWish>,
}

/// A mode an element is asked to take.
#[derive(Clone, Debug)]
pub struct ModeWish {
    /// The mode.
    pub mode: Mode,
    /// The generation that asks for it; an element that has seen it is not asked.
    pub generation: i64,
    /// The element's admin token.
    pub token: SecretString,
}

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("failed to ask the element")]
    Ask(#[from] reqwest::Error),
    #[error("failed to read the element's answer")]
    Read(#[from] serde_json::Error),
    #[error("failed to read the element's answer: it is over {LARGEST_ANSWER} bytes")]
    TooLarge,
}

#[derive(Default)]
struct Known {
    uid: String,
    answer: Answer,
    asked: Option<Timestamp>,
    under_way: bool,
}

type All = Arc<Mutex<HashMap<(String, String), Known>>>;

/// Asks elements and remembers what they said.
pub struct Probe {
    http: reqwest::Client,
    known: All,
    ask_again: UnboundedSender<ObjectRef<StorageElement>>,
    clock: Arc<dyn Clock>,
}

impl Probe {
    /// `ask_again` is told of every element whose answer has changed.
    pub fn new(
        clock: Arc<dyn Clock>,
        ask_again: UnboundedSender<ObjectRef<StorageElement>>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            // The image holds no certificates, and http needs none.
            .tls_certs_only([])
            .build()?;
        Ok(Self {
            http,
            known: All::default(),
            ask_again,
            clock,
        })
    }

    /// The last answer; asks anew, beside the caller, when it is older than `fresh_for`.
    pub fn look(&self, target: Target, fresh_for: Duration) -> Answer {
        let now = self.clock.now();
        let mut all = lock(&self.known);
        let known = all.entry((target.namespace.clone(), target.name.clone())).or_default();
        if known.uid != target.uid {
            *known = Known {
                uid: target.uid.clone(),
                ..Known::default()
            };
        }
        let fresh_for = SignedDuration::try_from(fresh_for).unwrap_or(SignedDuration::MAX);
        let stale = known.asked.is_none_or(|asked| now.duration_since(asked) >= fresh_for);
        if stale && !known.under_way {
            known.under_way = true;
            known.asked = Some(now);
            self.ask(target);
        }
        known.answer.clone()
    }

    /// Forgets an element.
    pub fn forget(&self, namespace: &str, name: &str) {
        lock(&self.known).remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn ask(&self, target: Target) {
        let (http, known, ask_again) = (self.http.clone(), Arc::clone(&self.known), self.ask_again.clone());
        tokio::spawn(async move {
            let answer = match converse(&http, &target).await {
                Ok(info) => Answer::Said(Arc::new(info)),
                Err(error) => {
                    let (namespace, name) = (&target.namespace, &target.name);
                    tracing::debug!(
                        namespace,
                        name,
                        error = %Chain(&error),
                        "element is silent"
                    );
                    Answer::Silent
                }
            };
            let mut all = lock(&known);
            let key = (target.namespace, target.name);
            let Some(one) = all.get_mut(&key).filter(|one| one.uid == target.uid) else {
                return;
            };
            one.under_way = false;
            if one.answer != answer {
                one.answer = answer;
                // Nobody listens once the controller stops.
                let _ = ask_again.unbounded_send(ObjectRef::new(&key.1).within(&key.0));
            }
        });
    }
}

fn lock(all: &All) -> MutexGuard<'_, HashMap<(String, String), Known>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the element says, after it was asked for another mode if it is behind the wish. A refusal shows in what it then says.
async fn converse(http: &reqwest::Client, target: &Target) -> Result<Info, ProbeError> {
    let said = info(http, &target.url).await?;
    let Some(wish) = target
        .wish
        .as_ref()
        .filter(|wish| said.mode_generation < wish.generation)
    else {
        return Ok(said);
    };
    let asked = http
        .post(format!("{}/api/v1/mode/transition", target.url))
        .bearer_auth(wish.token.expose_secret())
        .json(&json!({"target_mode": wish.mode, "generation": wish.generation}))
        .send()
        .await;
    let (namespace, name, mode) = (&target.namespace, &target.name, wish.mode);
    match asked.and_then(reqwest::Response::error_for_status) {
        Ok(_) => tracing::info!(namespace, name, %mode, "element was asked for its mode"),
        Err(error) => {
            tracing::debug!(namespace, name, %mode, error = %Chain(&error), "element does not take the mode");
            return Ok(said);
        }
    }
    info(http, &target.url).await
}

async fn info(http: &reqwest::Client, url: &str) -> Result<Info, ProbeError> {
    let mut response = http
        .get(format!("{url}/api/v1/info"))
        .send()
        .await?
        .error_for_status()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err(ProbeError::TooLarge);
        }
    }
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::StreamExt;
    use futures::channel::mpsc::{UnboundedReceiver, unbounded};
    use serde_json::{Value, json};
    use wiremock::matchers::{bearer_token, body_json, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use element_api::Mode;

    use super::{Answer, ModeWish, ObjectRef, Probe, StorageElement, Target};
    use crate::clock::SystemClock;

    const FRESH: Duration = Duration::from_secs(3600);

    async fn element(answer: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(path("/api/v1/info"))
            .respond_with(answer)
            .mount(&server)
            .await;
        server
    }

    fn info() -> Value {
        json!({
            "element_id": "01", "version": "1", "mode": "ro", "mode_generation": 4, "operations": ["read", "search"],
            "storage_type": "local", "database_type": "sqlite", "priority": 100,
            "capacity": {
                "total_bytes": 100, "used_bytes": 1, "free_bytes": 99, "percent": 1.0, "status": "ok",
                "thresholds": {"warning": 15, "critical": 8, "full": 2},
            },
        })
    }

    fn probe() -> (Probe, UnboundedReceiver<ObjectRef<StorageElement>>) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (ask, asked) = unbounded();
        (Probe::new(Arc::new(SystemClock), ask).unwrap(), asked)
    }

    fn target(server: &MockServer, uid: &str) -> Target {
        Target {
            wish: None,
            namespace: "n".to_owned(),
            name: "a".to_owned(),
            uid: uid.to_owned(),
            url: server.uri(),
        }
    }

    #[tokio::test]
    async fn first_look_asks_and_the_answer_brings_a_reconcile() {
        let server = element(ResponseTemplate::new(200).set_body_json(info())).await;
        let (probe, mut asked) = probe();
        assert_eq!(probe.look(target(&server, "u"), FRESH), Answer::Asking);
        assert_eq!(asked.next().await.unwrap().name, "a");
        let Answer::Said(info) = probe.look(target(&server, "u"), FRESH) else {
            panic!("no answer")
        };
        assert_eq!(info.mode_generation, 4);
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn answer_of_an_earlier_element_of_the_name_does_not_count() {
        let server = element(ResponseTemplate::new(200).set_body_json(info())).await;
        let (probe, mut asked) = probe();
        probe.look(target(&server, "old"), FRESH);
        asked.next().await.unwrap();
        assert_eq!(probe.look(target(&server, "new"), FRESH), Answer::Asking);
    }

    /// What the probe makes of an element in mode ro, generation 4, that gives `answer` to a wish for mode ar.
    async fn wished(generation: i64, answer: ResponseTemplate) -> (Answer, usize) {
        let server = MockServer::start().await;
        Mock::given(path("/api/v1/info"))
            .respond_with(ResponseTemplate::new(200).set_body_json(info()))
            .up_to_n_times(1)
            .mount(&server)
            .await;
        let mut changed = info();
        changed["mode"] = json!("ar");
        changed["mode_generation"] = json!(generation);
        Mock::given(path("/api/v1/info"))
            .respond_with(ResponseTemplate::new(200).set_body_json(changed))
            .mount(&server)
            .await;
        Mock::given(method("POST"))
            .and(path("/api/v1/mode/transition"))
            .and(bearer_token("its token"))
            .and(body_json(json!({"target_mode": "ar", "generation": generation})))
            .respond_with(answer)
            .mount(&server)
            .await;
        let (probe, mut asked) = probe();
        let mut target = target(&server, "u");
        target.wish = Some(ModeWish {
            mode: Mode::Ar,
            generation,
            token: "its token".to_owned().into(),
        });
        probe.look(target.clone(), FRESH);
        asked.next().await.unwrap();
        let requests = server.received_requests().await.unwrap();
        let posts = requests
            .iter()
            .filter(|request| request.method.as_str() == "POST")
            .count();
        (probe.look(target, FRESH), posts)
    }

    fn mode_said(answer: Answer) -> Mode {
        match answer {
            Answer::Said(info) => info.mode,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn element_behind_the_wish_is_asked_at_once() {
        let (answer, posts) = wished(5, ResponseTemplate::new(200)).await;
        assert_eq!((mode_said(answer), posts), (Mode::Ar, 1));
    }

    #[tokio::test]
    async fn element_that_has_seen_the_wish_is_left_alone() {
        let (answer, posts) = wished(4, ResponseTemplate::new(200)).await;
        assert_eq!((mode_said(answer), posts), (Mode::Ro, 0));
    }

    #[tokio::test]
    async fn element_that_refuses_the_wish_is_no_silent_one() {
        let (answer, posts) = wished(5, ResponseTemplate::new(409)).await;
        assert_eq!((mode_said(answer), posts), (Mode::Ro, 1));
    }

    #[tokio::test]
    async fn error_garbage_and_floods_are_silence() {
        for answer in [
            ResponseTemplate::new(500),
            ResponseTemplate::new(200).set_body_string("no json"),
            ResponseTemplate::new(200).set_body_bytes(vec![b' '; 1 << 20]),
            ResponseTemplate::new(307).insert_header("location", "http://127.0.0.1:1/"),
        ] {
            let server = element(answer).await;
            let (probe, mut asked) = probe();
            probe.look(target(&server, "u"), FRESH);
            asked.next().await.unwrap();
            assert_eq!(probe.look(target(&server, "u"), FRESH), Answer::Silent);
        }
    }
}
