//! ServiceAccount: an identity of its own without a token, for an element never speaks to the Kubernetes API.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::super::validate::Element;

pub(super) fn account(element: &Element) -> ServiceAccount {
    ServiceAccount {
        metadata: super::owned(element, element.name.clone()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
