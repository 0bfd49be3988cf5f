//! The elements' own API, as the operator reads it: `GET /api/v1/info`, now and then, never inside a reconcile.
//!
//! A reconcile takes the last answer; asking happens beside it, and a new answer brings the next reconcile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artstore_crds::StorageElement;
use element_api::Info;
use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;

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
            let answer = match info(&http, &target.url).await {
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
    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::{Answer, ObjectRef, Probe, StorageElement, Target};
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
