//! A test's own namespace on a real API server, with a fleet on a real PostgreSQL, and somebody to play the node.

mod node;
mod operator;
mod picture;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use artstore_crds::{StorageElement, StorageElementStatus, StorageFleet};
use futures::FutureExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::task::AbortHandle;

pub(crate) use self::operator::{Operator, Script};

/// Far longer than anything takes: reaching it means that it never comes.
const LIMIT: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// An element id nobody else has.
    pub(crate) id: String,
    postgres: PgConnectOptions,
    node: AbortHandle,
}

/// Runs a test in a world of its own and clears up, also when it failed.
pub(crate) async fn with_world(body: impl AsyncFnOnce(&World)) {
    let world = World::new().await;
    let outcome = AssertUnwindSafe(body(&world)).catch_unwind().await;
    world.clear().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn postgres_url() -> String {
    std::env::var("ARTSTORE_TEST_POSTGRES")
        .expect("set ARTSTORE_TEST_POSTGRES to a PostgreSQL superuser, as in postgres://postgres:PASSWORD@127.0.0.1:5432/postgres")
}

async fn connect() -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let logs = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(logs)
        .with_test_writer()
        .try_init();
    let path = std::env::var("ARTSTORE_KUBECONFIG")
        .expect("set ARTSTORE_KUBECONFIG to the kubeconfig of a test cluster (`make cluster-up` prints one)");
    let kubeconfig = Kubeconfig::read_from(&path).expect("ARTSTORE_KUBECONFIG must be readable");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("a kubeconfig");
    Client::try_from(config).expect("a client")
}

async fn install(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in artstore_crds::definitions().expect("definitions") {
        let params = PatchParams::apply("artstore-crds-test").force();
        api.patch(&definition.name_any(), &params, &Patch::Apply(&definition))
            .await
            .expect("a CRD");
        let name = definition.name_any();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(LIMIT, established)
            .await
            .expect("an established CRD")
            .expect("a watch");
    }
}

impl World {
    async fn new() -> Self {
        let client = connect().await;
        install(&client).await;
        let id = format!("t{:010x}", uuid::Uuid::new_v4().as_u128() & 0xff_ffff_ffff);
        let namespace = format!("operator-{id}");
        let object = json!({"metadata": {
            "name": namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }});
        let namespaces = Api::<Namespace>::all(client.clone());
        namespaces
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .expect("a namespace");
        let postgres = postgres_url()
            .parse()
            .expect("ARTSTORE_TEST_POSTGRES is a postgres:// URL");
        let node = tokio::spawn(node::play(client.clone(), namespace.clone())).abort_handle();
        let world = Self {
            client,
            namespace,
            id,
            postgres,
            node,
        };
        world
            .secret("jwt", json!({"public.pem": "-----BEGIN PUBLIC KEY-----"}))
            .await;
        world.credentials().await;
        world.fleet().await;
        world
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn make<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).expect("an object");
        self.api::<K>()
            .create(&PostParams::default(), &object)
            .await
            .expect("a new object")
    }

    pub(crate) async fn secret(&self, name: &str, data: Value) -> Secret {
        self.make(json!({"metadata": {"name": name}, "stringData": data})).await
    }

    /// The administrator's Secret.
    pub(crate) async fn credentials(&self) -> Secret {
        let url = postgres_url();
        let login = url
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('@'))
            .expect("a login")
            .0;
        let (username, password) = login.split_once(':').expect("a password");
        self.secret("postgres-admin", json!({"username": username, "password": password}))
            .await
    }

    pub(crate) async fn fleet(&self) -> StorageFleet {
        self.make(json!({
            "apiVersion": "artstore.dev/v1alpha1",
            "kind": "StorageFleet",
            "metadata": {"name": "main"},
            "spec": {
                "image": "artstore-element:test",
                "database": {"postgres": {
                    "host": self.postgres.get_host(),
                    "port": self.postgres.get_port(),
                    "adminSecretRef": {"name": "postgres-admin"},
                    "sslMode": "disable",
                }},
                "auth": {"publicKeySecretRef": {"name": "jwt"}},
            },
        }))
        .await
    }

    /// The element `storage-a`, with `spec` over the usual one. No node takes its pod: [`node`] plays one.
    pub(crate) fn element(&self, spec: Value) -> Value {
        let mut object = json!({
            "apiVersion": "artstore.dev/v1alpha1",
            "kind": "StorageElement",
            "metadata": {"name": NAME},
            "spec": {
                "fleetRef": {"name": "main"},
                "elementId": self.id,
                "storage": {"local": {"size": "1Gi", "storageClassName": self.namespace}},
                "nodeSelector": {"artstore.dev/test": "nowhere"},
            },
        });
        merge(&mut object["spec"], spec);
        object
    }

    pub(crate) async fn patch_element(&self, patch: Value) -> StorageElement {
        let api = self.api::<StorageElement>();
        api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("a patched element")
    }

    pub(crate) async fn delete_element(&self) {
        self.api::<StorageElement>()
            .delete(NAME, &DeleteParams::default())
            .await
            .expect("a deletion");
    }

    pub(crate) async fn status(&self) -> StorageElementStatus {
        self.api::<StorageElement>()
            .get_opt(NAME)
            .await
            .expect("an answer")
            .and_then(|e| e.status)
            .unwrap_or_default()
    }

    /// Waits for `Ready` to have this status and reason.
    pub(crate) async fn ready(&self, status: &str, reason: &str) -> String {
        self.condition("Ready", status, reason).await
    }

    /// Waits for a condition; answers with its message.
    pub(crate) async fn condition(&self, type_: &str, status: &str, reason: &str) -> String {
        self.until(&format!("{type_} {status} {reason}"), async || {
            let element = self.api::<StorageElement>().get_opt(NAME).await.expect("an answer")?;
            let generation = element.metadata.generation;
            let conditions = element.status.unwrap_or_default().conditions;
            let condition = conditions.into_iter().find(|condition| {
                (
                    condition.type_.as_str(),
                    condition.status.as_str(),
                    condition.reason.as_str(),
                ) == (type_, status, reason)
            })?;
            (condition.observed_generation == generation).then_some(condition.message)
        })
        .await
    }

    pub(crate) async fn gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.until(&format!("{} {name} gone", K::kind(&())), async || {
            self.api::<K>()
                .get_opt(name)
                .await
                .expect("an answer")
                .is_none()
                .then_some(())
        })
        .await;
    }

    /// Looks until there is an answer.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("never came: {what}; status {:#?}", self.status().await),
        }
    }

    /// The reasons of the Events about the element, oldest first.
    pub(crate) async fn events(&self) -> Vec<String> {
        let mut events = self
            .api::<Event>()
            .list(&ListParams::default())
            .await
            .expect("events")
            .items;
        events.retain(|event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|object| object.kind.as_deref() == Some("StorageElement"))
        });
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        events.into_iter().filter_map(|event| event.reason).collect()
    }

    /// Waits until exactly these Events were told; an Event follows its status.
    pub(crate) async fn told(&self, expected: &[&str]) {
        let what = format!("Events {expected:?}");
        self.until(&what, async || (self.events().await == expected).then_some(()))
            .await;
    }

    /// The first column of every row.
    pub(crate) async fn sql(&self, statement: &str) -> Vec<String> {
        let mut connection = self.postgres.connect().await.expect("a PostgreSQL server");
        let rows: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(statement.to_owned()))
            .fetch_all(&mut connection)
            .await
            .expect("rows");
        rows.into_iter().map(|(text,)| text).collect()
    }

    /// Databases and roles of this world's elements.
    pub(crate) async fn databases(&self) -> Vec<String> {
        let id = &self.id;
        self.sql(&format!(
            "SELECT 'database ' || datname FROM pg_database WHERE datname LIKE '%{id}%'
             UNION SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE '%{id}%' ORDER BY 1"
        ))
        .await
    }

    async fn clear(self) {
        self.node.abort();
        let elements = self.api::<StorageElement>();
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        for element in elements.list(&ListParams::default()).await.expect("elements") {
            elements
                .delete(&element.name_any(), &DeleteParams::default())
                .await
                .expect("a deletion");
            // One without a finalizer is gone by now.
            let _ = elements
                .patch(&element.name_any(), &PatchParams::default(), &patch)
                .await;
        }
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("artstore.dev/test={}", self.namespace));
        volumes
            .delete_collection(&DeleteParams::default(), &ours)
            .await
            .expect("volumes gone");
        let namespaces = Api::<Namespace>::all(self.client.clone());
        match namespaces.delete(&self.namespace, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("failed to delete a namespace: {error}"),
        }
        self.drop_databases().await;
    }

    async fn drop_databases(&self) {
        let mut connection: PgConnection = self.postgres.connect().await.expect("a PostgreSQL server");
        for object in self.databases().await {
            let statement = match object.split_once(' ') {
                Some(("database", name)) => format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"),
                Some((_, name)) => format!("DROP ROLE IF EXISTS \"{name}\""),
                None => continue,
            };
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .expect("a drop");
        }
        connection.close().await.expect("a closed connection");
    }
}

/// The element of a world.
pub(crate) const NAME: &str = "storage-a";

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
