//! What a reconcile looks at. Reads the caches, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use artstore_crds::{StorageElement, StorageFleet};
use element_api::{Mode, Transition};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use kube::ResourceExt;

use super::resolve::{Resolved, resolve};
use super::validate::{self, TOKEN};
use super::{HTTP_PORT, mode_generation};
use crate::context::{Context, Recollection};
use crate::name::{self, FINALIZER, FORCE_FINALIZE};
use crate::probe::{Answer, ModeWish, Target};

/// An element and all that concerns it, at one moment.
pub(crate) struct Observed {
    pub(crate) element: Arc<StorageElement>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) fleet: Option<Arc<StorageFleet>>,
    /// The Secrets that are referred to and exist.
    pub(crate) secrets: BTreeMap<String, Arc<Secret>>,
    pub(crate) children: Children,
    /// What the element last said of itself.
    pub(crate) answer: Answer,
    pub(crate) recollection: Recollection,
}

/// What has an element's names, whoever made it for Secrets; the operator's own for the rest.
#[derive(Default)]
pub(crate) struct Children {
    pub(crate) database_secret: Option<Arc<Secret>>,
    pub(crate) admin_secret: Option<Arc<Secret>>,
    pub(crate) config: Option<Arc<ConfigMap>>,
    pub(crate) account: Option<Arc<ServiceAccount>>,
    pub(crate) volume: Option<Arc<PersistentVolumeClaim>>,
    pub(crate) workload: Option<Arc<Deployment>>,
    pub(crate) service: Option<Arc<Service>>,
}

impl Observed {
    /// The settings that hold.
    pub(crate) fn resolved(&self) -> Resolved<'_> {
        resolve(&self.element.spec, self.fleet.as_deref().map(|fleet| &fleet.spec))
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.element.metadata.deletion_timestamp.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.element.spec.paused == Some(true)
    }

    pub(crate) fn has_finalizer(&self) -> bool {
        self.element.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.element
            .annotations()
            .get(FORCE_FINALIZE)
            .is_some_and(|value| value == "true")
    }
}

/// Looks at the element; `None` when it is gone.
pub(crate) fn observe(context: &Context, namespace: &str, name: &str) -> Option<Observed> {
    let caches = &context.caches;
    let element = caches.elements.get(namespace, name)?;
    let uid = element.uid()?;
    let fleet = caches.fleet_of(&element);
    let children = Children {
        database_secret: caches.secrets.get(namespace, &name::database_secret(name)),
        admin_secret: caches.secrets.get(namespace, &name::admin_secret(name)),
        config: caches.configs.get(namespace, &name::config(name)),
        account: caches.accounts.get(namespace, name),
        volume: caches.volumes.get(namespace, &name::volume(name)),
        workload: caches.workloads.get(namespace, name),
        service: caches.services.get(namespace, name),
    };
    let secrets = resolve(&element.spec, fleet.as_deref().map(|fleet| &fleet.spec))
        .secrets()
        .into_iter()
        .filter_map(|secret| Some((secret.to_owned(), caches.secrets.get(namespace, secret)?)))
        .collect();
    let recollection = context.memory.recall(namespace, name, &uid);
    let mut observed = Observed {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid,
        fleet,
        secrets,
        children,
        answer: Answer::default(),
        recollection,
        element,
    };
    observed.answer = ask(context, &observed);
    Some(observed)
}

/// The element's last answer; an element without a ready pod is not asked.
fn ask(context: &Context, observed: &Observed) -> Answer {
    let ready = observed
        .children
        .workload
        .as_deref()
        .and_then(|workload| workload.status.as_ref()?.available_replicas);
    match (ready, address(observed)) {
        (Some(1..), Some(address)) if !observed.is_deleting() => {
            let target = Target {
                namespace: observed.namespace.clone(),
                name: observed.name.clone(),
                uid: observed.uid.clone(),
                url: format!("http://{address}:{HTTP_PORT}"),
                wish: wish(observed),
            };
            context.probe.look(target, pace(context, observed))
        }
        _ => Answer::default(),
    }
}

/// The mode the spec asks for, with the element's own admin token.
fn wish(observed: &Observed) -> Option<ModeWish> {
    if observed.is_paused() {
        return None;
    }
    let token = validate::value(observed.children.admin_secret.as_deref()?, TOKEN)?;
    Some(ModeWish {
        mode: observed.element.spec.mode,
        generation: mode_generation(&observed.element),
        token: validate::text(token).into(),
    })
}

/// How old an answer may be: less while the mode is not confirmed.
pub(crate) fn pace(context: &Context, observed: &Observed) -> Duration {
    if is_awaited(observed) {
        context.settings.ask_eagerly_every
    } else {
        context.settings.ask_every
    }
}

/// Whether the element is to confirm its mode yet; one that never can is not waited for.
fn is_awaited(observed: &Observed) -> bool {
    let confirmed = observed.element.status.as_ref().and_then(|status| status.mode.as_ref());
    let wanted = observed.element.spec.mode;
    let can = |mode: Mode| mode.transition_to(wanted) != Transition::Forbidden;
    match &observed.answer {
        Answer::Said(info) => {
            can(info.mode) && (info.mode_generation < mode_generation(&observed.element) || info.mode != wanted)
        }
        Answer::Asking | Answer::Silent => confirmed.is_none_or(|mode| can(mode.current) && mode.current != wanted),
    }
}

/// The Service's own address: needs no name resolution, and works outside the cluster too.
fn address(observed: &Observed) -> Option<String> {
    let address = observed
        .children
        .service
        .as_deref()?
        .spec
        .as_ref()?
        .cluster_ip
        .clone()?;
    if address.contains(':') {
        Some(format!("[{address}]"))
    } else {
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use element_api::{Capacity, Info, Mode};
    use serde_json::json;

    use super::is_awaited;
    use crate::element::example::observed;
    use crate::probe::Answer;

    #[test]
    fn mode_is_awaited_until_it_is_confirmed_and_not_where_it_can_never_come() {
        for (wanted, has, generation, expected) in [
            ("ro", Mode::Rw, 1, true),
            ("ro", Mode::Ro, 1, true),
            ("ro", Mode::Ro, i64::MAX, false),
            ("edit", Mode::Ar, 1, false),
            ("rw", Mode::Edit, 1, false),
        ] {
            let mut observed = observed(json!({"mode": wanted}));
            observed.answer = Answer::Said(Arc::new(Info {
                element_id: "01".to_owned(),
                version: "1".to_owned(),
                mode: has,
                mode_generation: generation,
                operations: Vec::new(),
                storage_type: "local".to_owned(),
                database_type: "postgres".to_owned(),
                schema_version: None,
                files: None,
                wal_pending: None,
                capacity: Capacity::new(1, 0, 1),
                priority: 100,
                endpoint: None,
            }));
            assert_eq!(is_awaited(&observed), expected, "{has} to {wanted}");
        }
    }
}
