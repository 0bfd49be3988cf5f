//! What the API server holds, as far as the operator knows: watched, never polled, and never older than its own writes.
//!
//! Only [`watch()`] talks to the API server, and only to list and watch.

mod kind;
mod watch;

use std::sync::Arc;

use artstore_crds::{StorageElement, StorageFleet};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use kube::ResourceExt;

pub use self::kind::Kind;
pub use self::watch::{Scope, Triggers, Watch, watch};
use crate::element::references;

/// Every kind the operator looks at, within one scope.
pub struct Caches {
    /// Elements.
    pub elements: Kind<StorageElement>,
    /// Fleets.
    pub fleets: Kind<StorageFleet>,
    /// Secrets: the operator's own and those users refer to.
    pub secrets: Kind<Secret>,
    /// The operator's ConfigMaps.
    pub configs: Kind<ConfigMap>,
    /// The operator's ServiceAccounts.
    pub accounts: Kind<ServiceAccount>,
    /// The operator's volumes.
    pub volumes: Kind<PersistentVolumeClaim>,
    /// The operator's Deployments.
    pub workloads: Kind<Deployment>,
    /// The operator's Services.
    pub services: Kind<Service>,
}

impl Caches {
    /// Returns when every kind was listed once.
    pub async fn ready(&self) {
        self.elements.ready().await;
        self.fleets.ready().await;
        self.secrets.ready().await;
        self.configs.ready().await;
        self.accounts.ready().await;
        self.volumes.ready().await;
        self.workloads.ready().await;
        self.services.ready().await;
    }

    /// The fleet an element names.
    pub fn fleet_of(&self, element: &StorageElement) -> Option<Arc<StorageFleet>> {
        let name = &element.spec.fleet_ref.as_ref()?.name;
        self.fleets.get(&element.namespace()?, name)
    }

    /// The elements that name a fleet.
    pub fn elements_of(&self, namespace: &str, fleet: &str) -> Vec<Arc<StorageElement>> {
        self.elements.find(|element| {
            element.metadata.namespace.as_deref() == Some(namespace)
                && element.spec.fleet_ref.as_ref().is_some_and(|named| named.name == fleet)
        })
    }

    /// The elements that read a Secret, by themselves or through their fleet.
    pub fn elements_reading(&self, namespace: &str, secret: &str) -> Vec<Arc<StorageElement>> {
        self.elements.find(|element| {
            element.metadata.namespace.as_deref() == Some(namespace)
                && references(element, self.fleet_of(element).as_deref())
                    .iter()
                    .any(|name| name == secret)
        })
    }
}
