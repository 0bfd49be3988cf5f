//! A picture of all an element has come to, without what differs from one run to the next.

use artstore_crds::StorageElement;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};

use super::{NAME, World};

impl World {
    /// Every object of the operator's, the element's status, the databases, and whether the element can log in.
    pub(crate) async fn picture(&self) -> Value {
        let databases: Vec<_> = self
            .databases()
            .await
            .iter()
            .map(|name| name.replace(&self.id, "ID"))
            .collect();
        let element = self.api::<StorageElement>().get_opt(NAME).await.expect("an answer");
        json!({
            "element": element.map(|element| self.wish(&element)),
            "databases": databases,
            "login": self.login().await,
            "secrets": self.all::<Secret>().await,
            "configs": self.all::<ConfigMap>().await,
            "accounts": self.all::<ServiceAccount>().await,
            "volumes": self.all::<PersistentVolumeClaim>().await,
            "workloads": self.all::<Deployment>().await,
            "services": self.all::<Service>().await,
        })
    }

    /// Whether user and password in the element's Secret open its database; nothing when there is no Secret.
    async fn login(&self) -> Option<bool> {
        let secrets = self.api::<Secret>();
        let secret = secrets.get_opt(&format!("{NAME}-db")).await.expect("an answer")?;
        let data = secret.data.expect("data");
        let text = |key: &str| std::str::from_utf8(&data[key].0).expect("UTF-8");
        let element = self
            .postgres
            .clone()
            .username(text("username"))
            .password(text("password"));
        match element
            .database(&format!("artstore_storage_{}", self.id))
            .connect()
            .await
        {
            Ok(session) => {
                session.close().await.expect("a closed connection");
                Some(true)
            }
            Err(sqlx::Error::Database(_)) => Some(false),
            Err(error) => panic!("no answer from PostgreSQL: {error}"),
        }
    }

    /// Name and version of every object of the operator's, and of the element.
    pub(crate) async fn versions(&self) -> Vec<String> {
        let mut all = vec![version(
            &self.api::<StorageElement>().get(NAME).await.expect("the element"),
        )];
        macro_rules! add {
            ($($kind:ty),*) => {$(
                all.extend(self.api::<$kind>().list(&ours()).await.expect("a list").iter().map(version));
            )*};
        }
        add!(
            Secret,
            ConfigMap,
            ServiceAccount,
            PersistentVolumeClaim,
            Deployment,
            Service
        );
        all
    }

    async fn all<K>(&self) -> Vec<Value>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let list = self.api::<K>().list(&ours()).await.expect("a list");
        let mut all: Vec<_> = list
            .iter()
            .map(|object| self.plain(serde_json::to_value(object).unwrap()))
            .collect();
        all.sort_by_key(|object| object["metadata"]["name"].to_string());
        all
    }

    fn wish(&self, element: &StorageElement) -> Value {
        let status = element.status.clone().unwrap_or_default();
        let conditions: Vec<_> = status
            .conditions
            .iter()
            .map(|it| format!("{} {} {}", it.type_, it.status, it.reason))
            .collect();
        self.plain(json!({
            "finalizers": element.finalizers(),
            "conditions": conditions,
            "phase": status.phase,
            "effective": status.effective,
            "database": status.database,
            "replicas": status.replicas,
            "endpoint": status.endpoint,
        }))
    }

    /// The same in every world: no uid, version, time, address or password.
    fn plain(&self, mut object: Value) -> Value {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in [
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "managedFields",
                "generation",
                "namespace",
            ] {
                metadata.remove(field);
            }
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.retain(|name, _| !name.starts_with("pv.kubernetes.io"));
            }
        }
        if let Some(fields) = object.as_object_mut() {
            if fields.contains_key("metadata") {
                fields.remove("status");
            }
            if fields.get("type").is_some_and(|kind| kind == "Opaque") {
                let keys: Vec<_> = fields["data"]
                    .as_object()
                    .into_iter()
                    .flat_map(|data| data.keys().cloned())
                    .collect();
                fields.insert("data".to_owned(), json!(keys));
            }
        }
        blank(&mut object);
        let text = object
            .to_string()
            .replace(&self.namespace, "NAMESPACE")
            .replace(&self.id, "ID");
        serde_json::from_str(&text).unwrap()
    }
}

/// Empties what is random or a number of the cluster's choosing.
fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let random = [
                    "uid",
                    "clusterIP",
                    "clusterIPs",
                    "volumeName",
                    "mode.json",
                    "artstore.dev/applied",
                    "artstore.dev/secrets",
                ];
                if random.contains(&name.as_str()) {
                    *value = Value::Null;
                } else {
                    blank(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(blank),
        _ => {}
    }
}

fn ours() -> ListParams {
    ListParams::default().labels("app.kubernetes.io/managed-by=artstore-operator")
}

fn version<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!(
        "{} {} {}",
        K::kind(&()),
        object.name_any(),
        object.resource_version().unwrap_or_default()
    )
}
