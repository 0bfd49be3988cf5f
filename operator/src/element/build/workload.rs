//! Deployment: the element's one pod, under the `restricted` pod security standard.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::HTTP_PORT;
use super::super::validate::Element;
use super::environment::environment;
use super::mounts::mounts;
use crate::name;

/// The name of the one port, in pod and Service.
pub(super) const PORT_NAME: &str = "http";
/// User and group of the image; no user of any distribution.
const USER: i64 = 65532;
/// Time to finish what runs, seconds.
const GRACE: i64 = 60;
/// Time a start may take, recovery of the write-ahead log included: 600 × 1 s.
const START_ATTEMPTS: i32 = 600;
const START_PERIOD: i32 = 1;
/// A label's value may have 63 characters.
const LONGEST_LABEL: usize = 63;

pub(super) fn workload(element: &Element, fingerprint: &str) -> Deployment {
    Deployment {
        metadata: super::owned(element, element.name.clone()),
        spec: Some(DeploymentSpec {
            replicas: Some(element.replicas),
            revision_history_limit: Some(3),
            selector: LabelSelector {
                match_labels: Some(name::selector(&element.name)),
                match_expressions: None,
            },
            // Two pods must never have the one volume.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(element, fingerprint)),
                spec: Some(pod(element)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod_metadata(element: &Element, fingerprint: &str) -> ObjectMeta {
    let mut labels = element.spec.pod_labels.clone();
    labels.extend(name::labels(&element.name, element.fleet.as_deref()));
    labels.extend(version(&element.image).map(|version| (name::VERSION.to_owned(), version)));
    let mut annotations = element.spec.pod_annotations.clone();
    annotations.insert(name::SECRETS.to_owned(), fingerprint.to_owned());
    ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

/// The image's tag, where it can be a label.
fn version(image: &str) -> Option<String> {
    let (_, last) = image.rsplit_once('/').unwrap_or(("", image));
    let (_, tag) = last
        .split_once('@')
        .map_or(last, |(before, _)| before)
        .split_once(':')?;
    let border = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let fits = tag.len() <= LONGEST_LABEL && border(tag.chars().next()) && border(tag.chars().next_back());
    fits.then(|| tag.to_owned())
}

fn pod(element: &Element) -> PodSpec {
    let spec = &element.spec;
    let (volumes, mounts) = mounts(element);
    let container = Container {
        name: "element".to_owned(),
        image: Some(element.image.clone()),
        args: Some(vec!["serve".to_owned()]),
        env: Some(environment(element)),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: HTTP_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        volume_mounts: Some(mounts),
        resources: spec.resources.clone(),
        security_context: Some(container_security()),
        startup_probe: Some(Probe {
            failure_threshold: Some(START_ATTEMPTS),
            period_seconds: Some(START_PERIOD),
            ..probe("/health/live")
        }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            ..probe("/health/live")
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            ..probe("/health/ready")
        }),
        ..Container::default()
    };
    PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        service_account_name: Some(element.name.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: Some(GRACE),
        node_selector: non_empty(&spec.node_selector),
        tolerations: (!spec.tolerations.is_empty()).then(|| spec.tolerations.clone()),
        affinity: spec.affinity.clone(),
        topology_spread_constraints: (!spec.topology_spread_constraints.is_empty())
            .then(|| spec.topology_spread_constraints.clone()),
        ..PodSpec::default()
    }
}

fn non_empty(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // A volume with many files is not walked through at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}
