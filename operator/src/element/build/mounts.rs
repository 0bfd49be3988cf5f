//! The files a pod reads and writes: where each is mounted and what it comes from.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, SecretVolumeSource,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::SecretKey;
use super::super::validate::{Database, Element, PASSWORD, TOKEN};
use crate::name;

/// Where the files of clients are, in the image.
pub(super) const DATA: &str = "/app/.data/storage";
/// The name of the mode's file, in the ConfigMap and on disk.
pub(super) const MODE_FILE: &str = "mode.json";
/// The paths of the files; each folder is one volume.
pub(super) const MODE: &str = "/etc/artstore/mode/mode.json";
pub(super) const ADMIN_TOKEN: &str = "/etc/artstore/admin/token";
pub(super) const PUBLIC_KEY: &str = "/etc/artstore/auth/public.pem";
pub(super) const DATABASE_PASSWORD: &str = "/etc/artstore/database/password";
pub(super) const DATABASE_CA: &str = "/etc/artstore/database-ca/ca.crt";
pub(super) const DISCOVERY_PASSWORD: &str = "/etc/artstore/discovery/password";
const TEMPORARY: &str = "/tmp";
/// Readable by the pod's group, which `fsGroup` makes the owner, and by nobody else.
const SECRET_FILE_MODE: i32 = 0o440;
/// Nothing of size belongs into /tmp: uploads go to the volume.
const TEMPORARY_SIZE: &str = "64Mi";

/// The volumes of the pod and where the container mounts them.
pub(super) fn mounts(element: &Element) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut all = vec![data(element), mode(element), temporary()];
    all.push(file("admin", ADMIN_TOKEN, name::admin_secret(&element.name), TOKEN));
    all.push(referred("auth", PUBLIC_KEY, &element.auth.key));
    if let Database::Postgres(postgres) = &element.database {
        all.push(file(
            "database",
            DATABASE_PASSWORD,
            name::database_secret(&element.name),
            PASSWORD,
        ));
        all.extend(postgres.ca.as_ref().map(|ca| referred("database-ca", DATABASE_CA, ca)));
    }
    let redis_password = element.discovery.as_ref().and_then(|redis| redis.password.as_ref());
    all.extend(redis_password.map(|password| referred("discovery", DISCOVERY_PASSWORD, password)));
    all.into_iter().unzip()
}

fn data(element: &Element) -> (Volume, VolumeMount) {
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: name::volume(&element.name),
        read_only: None,
    };
    let volume = Volume {
        name: "data".to_owned(),
        persistent_volume_claim: Some(source),
        ..Volume::default()
    };
    (volume, mount("data", DATA, false))
}

/// Mounted as a folder: a single file would never be updated.
fn mode(element: &Element) -> (Volume, VolumeMount) {
    let source = ConfigMapVolumeSource {
        name: name::config(&element.name),
        ..ConfigMapVolumeSource::default()
    };
    let volume = Volume {
        name: "mode".to_owned(),
        config_map: Some(source),
        ..Volume::default()
    };
    (volume, mount("mode", folder(MODE), true))
}

fn temporary() -> (Volume, VolumeMount) {
    let source = EmptyDirVolumeSource {
        size_limit: Some(Quantity(TEMPORARY_SIZE.to_owned())),
        medium: None,
    };
    let volume = Volume {
        name: "tmp".to_owned(),
        empty_dir: Some(source),
        ..Volume::default()
    };
    (volume, mount("tmp", TEMPORARY, false))
}

fn referred(name: &str, path: &str, key: &SecretKey) -> (Volume, VolumeMount) {
    file(name, path, key.name.clone(), &key.key)
}

/// One key of a Secret as the file `path`.
fn file(name: &str, path: &str, secret: String, key: &str) -> (Volume, VolumeMount) {
    let item = KeyToPath {
        key: key.to_owned(),
        path: file_name(path).to_owned(),
        mode: None,
    };
    let source = SecretVolumeSource {
        secret_name: Some(secret),
        default_mode: Some(SECRET_FILE_MODE),
        items: Some(vec![item]),
        optional: None,
    };
    let volume = Volume {
        name: name.to_owned(),
        secret: Some(source),
        ..Volume::default()
    };
    (volume, mount(name, folder(path), true))
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(folder, _)| folder)
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
