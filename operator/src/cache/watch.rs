//! The watches that fill the caches, and which element or fleet each change concerns.

use std::pin::Pin;
use std::sync::Arc;

use artstore_crds::{StorageElement, StorageFleet};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::SetOnce;

use super::{Caches, Kind};
use crate::clock::Clock;
use crate::cluster::Child;
use crate::name::{INSTANCE, MANAGED_BY, MANAGER};
use crate::telemetry::Chain;

/// Secrets of these types are never an element's: left out so that they are neither read nor kept in memory.
const OTHER_SECRETS: &str =
    "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=kubernetes.io/dockerconfigjson";

/// Where the operator looks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Everywhere.
    Cluster,
    /// In one namespace.
    Namespace(String),
}

impl Scope {
    fn api<K: Child>(&self, client: &Client) -> Api<K> {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

/// Who is to be looked at again.
pub struct Triggers {
    /// Elements to reconcile.
    pub elements: UnboundedReceiver<ObjectRef<StorageElement>>,
    /// Fleets to reconcile.
    pub fleets: UnboundedReceiver<ObjectRef<StorageFleet>>,
    /// Lets others ask for an element.
    pub ask: UnboundedSender<ObjectRef<StorageElement>>,
}

/// The watches themselves: they run as long as this stream is polled, and end never by themselves.
pub type Watch = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// A change of one object of some kind.
enum Change {
    Element(Box<StorageElement>),
    Fleet(Box<StorageFleet>),
    Secret(Box<Secret>),
    /// A child of the element named.
    Child {
        namespace: String,
        element: String,
    },
    /// Nobody's.
    Other,
}

/// Sets the watches of `scope` up.
pub fn watch(client: &Client, scope: &Scope, clock: &Arc<dyn Clock>) -> (Arc<Caches>, Triggers, Watch) {
    let children = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let secrets = watcher::Config::default().fields(OTHER_SECRETS);
    let (elements, element_changes) = reflect(scope.api(client), watcher::Config::default(), clock, |element| {
        Change::Element(Box::new(element))
    });
    let (fleets, fleet_changes) = reflect(scope.api(client), watcher::Config::default(), clock, |fleet| {
        Change::Fleet(Box::new(fleet))
    });
    let (secrets, secret_changes) = reflect(scope.api(client), secrets, clock, |secret| {
        Change::Secret(Box::new(secret))
    });
    let (configs, config_changes) = reflect(scope.api(client), children.clone(), clock, child);
    let (accounts, account_changes) = reflect(scope.api(client), children.clone(), clock, child);
    let (volumes, volume_changes) = reflect(scope.api(client), children.clone(), clock, child);
    let (workloads, workload_changes) = reflect(scope.api(client), children.clone(), clock, child);
    let (services, service_changes) = reflect(scope.api(client), children, clock, child);
    let caches = Arc::new(Caches {
        elements,
        fleets,
        secrets,
        configs,
        accounts,
        volumes,
        workloads,
        services,
    });
    let (ask, elements) = unbounded();
    let (ask_fleet, fleets) = unbounded();
    let dispatcher = Dispatcher {
        caches: Arc::clone(&caches),
        elements: ask.clone(),
        fleets: ask_fleet,
    };
    let changes = stream::select_all([
        element_changes,
        fleet_changes,
        secret_changes,
        config_changes,
        account_changes,
        volume_changes,
        workload_changes,
        service_changes,
    ]);
    let watch = Box::pin(changes.map(move |change| dispatcher.dispatch(change)));
    (caches, Triggers { elements, fleets, ask }, watch)
}

type Changes = Pin<Box<dyn Stream<Item = Change> + Send>>;

fn reflect<K: Child>(
    api: Api<K>,
    config: watcher::Config,
    clock: &Arc<dyn Clock>,
    change: impl Fn(K) -> Change + Send + 'static,
) -> (Kind<K>, Changes) {
    let (store, writer) = reflector::store();
    let listed = Arc::new(SetOnce::new());
    let kind = Kind::new(store, Arc::clone(&listed), Arc::clone(clock));
    let events = reflector::reflector(writer, watcher(api, config).default_backoff()).inspect(move |event| {
        if matches!(event, Ok(watcher::Event::InitDone)) {
            // Lists that are read again change nothing.
            let _ = listed.set(());
        }
    });
    let changes = events.touched_objects().filter_map(move |result| {
        std::future::ready(match result {
            Ok(object) => Some(change(object)),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = %Chain(&error), "watch failed, trying again");
                None
            }
        })
    });
    (kind, Box::pin(changes))
}

fn child<K: Child>(object: K) -> Change {
    match (object.namespace(), object.labels().get(INSTANCE)) {
        (Some(namespace), Some(element)) => Change::Child {
            namespace,
            element: element.clone(),
        },
        _ => Change::Other,
    }
}

struct Dispatcher {
    caches: Arc<Caches>,
    elements: UnboundedSender<ObjectRef<StorageElement>>,
    fleets: UnboundedSender<ObjectRef<StorageFleet>>,
}

impl Dispatcher {
    fn dispatch(&self, change: Change) {
        match change {
            Change::Element(element) => {
                self.ask(ObjectRef::from_obj(element.as_ref()));
                if let (Some(namespace), Some(fleet)) = (element.namespace(), &element.spec.fleet_ref) {
                    self.ask_fleet(ObjectRef::new(&fleet.name).within(&namespace));
                }
            }
            Change::Fleet(fleet) => {
                let namespace = fleet.namespace().unwrap_or_default();
                for element in self.caches.elements_of(&namespace, &fleet.name_any()) {
                    self.ask(ObjectRef::from_obj(element.as_ref()));
                }
                self.ask_fleet(ObjectRef::from_obj(fleet.as_ref()));
            }
            Change::Secret(secret) => self.secret(&secret),
            Change::Child { namespace, element } => self.ask(ObjectRef::new(&element).within(&namespace)),
            Change::Other => {}
        }
    }

    fn secret(&self, secret: &Secret) {
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        if let Some(element) = secret.labels().get(INSTANCE) {
            self.ask(ObjectRef::new(element).within(&namespace));
        }
        for element in self.caches.elements_reading(&namespace, &name) {
            self.ask(ObjectRef::from_obj(element.as_ref()));
        }
        for fleet in self
            .caches
            .fleets
            .find(|fleet| fleet.metadata.namespace.as_deref() == Some(&namespace))
        {
            if crate::fleet::references(&fleet.spec)
                .iter()
                .any(|reference| *reference == name)
            {
                self.ask_fleet(ObjectRef::from_obj(fleet.as_ref()));
            }
        }
    }

    // A queue that is closed belongs to a controller that is stopping: nobody is left to ask.
    fn ask(&self, element: ObjectRef<StorageElement>) {
        let _ = self.elements.unbounded_send(element);
    }

    fn ask_fleet(&self, fleet: ObjectRef<StorageFleet>) {
        let _ = self.fleets.unbounded_send(fleet);
    }
}
