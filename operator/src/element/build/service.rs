//! Service: the element's address.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::HTTP_PORT;
use super::super::validate::Element;
use super::workload::PORT_NAME;
use crate::name;

pub(super) fn service(element: &Element) -> Service {
    let port = ServicePort {
        name: Some(PORT_NAME.to_owned()),
        port: HTTP_PORT,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: super::owned(element, element.name.clone()),
        spec: Some(ServiceSpec {
            ports: Some(vec![port]),
            selector: Some(name::selector(&element.name)),
            type_: Some("ClusterIP".to_owned()),
            // An element whose database is away is not ready, and still serves reads.
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
