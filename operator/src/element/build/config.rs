//! ConfigMap: the mode, in a file the element watches, so that a change needs no restart.

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::validate::Element;
use super::mounts::MODE_FILE;
use crate::name;

pub(super) fn config(element: &Element) -> ConfigMap {
    let mode = format!(
        "{{\"mode\":\"{}\",\"generation\":{}}}\n",
        element.mode, element.mode_generation
    );
    ConfigMap {
        metadata: super::owned(element, name::config(&element.name)),
        data: Some([(MODE_FILE.to_owned(), mode)].into()),
        ..ConfigMap::default()
    }
}
