//! The objects of an element, one kind a file. Pure: the same element gives the same objects, byte for byte.

mod account;
mod config;
mod environment;
mod mounts;
mod secret;
mod service;
mod volume;
mod workload;

use std::marker::PhantomData;

use artstore_crds::StorageElement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use secrecy::SecretString;

use super::plan::{Built, Objects};
use super::validate::{Database, Element};
use crate::name;

/// All objects of `element`. `fingerprint` stands for the secrets its pod reads.
pub(crate) fn objects(
    element: &Element,
    password: &SecretString,
    token: &SecretString,
    fingerprint: &str,
) -> Objects<Built> {
    let database_secret = match &element.database {
        Database::Postgres(postgres) => Some(secret::database(element, postgres, password)),
        Database::Embedded { .. } => None,
    };
    Objects {
        database_secret,
        admin_secret: secret::admin(element, token),
        config: config::config(element),
        account: account::account(element),
        volume: volume::volume(element),
        service: service::service(element),
        workload: workload::workload(element, fingerprint),
        state: PhantomData,
    }
}

/// The metadata of a child that goes with the element.
fn owned(element: &Element, name: String) -> ObjectMeta {
    let owner = OwnerReference {
        api_version: StorageElement::api_version(&()).into_owned(),
        kind: StorageElement::kind(&()).into_owned(),
        name: element.name.clone(),
        uid: element.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    ObjectMeta {
        owner_references: Some(vec![owner]),
        ..kept(element, name)
    }
}

/// The metadata of a child that `deletionPolicy` decides over.
fn kept(element: &Element, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(element.namespace.clone()),
        labels: Some(name::labels(&element.name, element.fleet.as_deref())),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
