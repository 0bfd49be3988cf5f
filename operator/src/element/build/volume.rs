//! PersistentVolumeClaim: the files. Kept or deleted as `deletionPolicy` says, so it has no owner.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::validate::Element;
use crate::name;

pub(super) fn volume(element: &Element) -> PersistentVolumeClaim {
    let size = [("storage".to_owned(), Quantity(element.volume.size.clone()))];
    PersistentVolumeClaim {
        metadata: super::kept(element, name::volume(&element.name)),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![element.volume.access.as_str().to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(size.into()),
                limits: None,
            }),
            storage_class_name: element.volume.class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
