//! From what was observed to an element that can be built: all violations at once. Pure.

mod secret;

use std::fmt;

use artstore_crds::{
    Auth, DeletionPolicy, FleetRef, Postgres, Redis, SslMode as WishedSslMode, StorageElementSpec, VolumeAccess,
};
use element_api::Mode;
use secrecy::SecretString;

use self::secret::{CA, PUBLIC_KEY, REDIS_PASSWORD, key, own, required};
pub(crate) use self::secret::{PASSWORD, TOKEN, URI, USERNAME, text, value};
use super::observe::Observed;
use super::resolve::Source;
use super::{SecretKey, mode_generation};
use crate::context::Settings;
use crate::database::{AdminAccess, SslMode};
use crate::verdict::{Part, Reason};
use crate::{name, quantity};

/// An element that can be built.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) fleet: Option<String>,
    pub(crate) id: String,
    pub(crate) image: String,
    pub(crate) mode: Mode,
    /// Rises with every change of the spec, also over the elements that had this name before.
    pub(crate) mode_generation: i64,
    pub(crate) priority: i32,
    pub(crate) replicas: i32,
    pub(crate) volume: Volume,
    pub(crate) database: Database,
    pub(crate) discovery: Option<RedisServer>,
    pub(crate) auth: Identity,
    pub(crate) max_file_size: Option<u64>,
    pub(crate) deletion_policy: DeletionPolicy,
    /// What the user wrote, for what is taken over as it is.
    pub(crate) spec: StorageElementSpec,
}

#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) size: String,
    pub(crate) bytes: u64,
    pub(crate) class: Option<String>,
    pub(crate) access: VolumeAccess,
}

#[derive(Clone, Debug)]
pub(crate) enum Database {
    Postgres(Box<PostgresDatabase>),
    Embedded { table_prefix: String },
}

#[derive(Clone, Debug)]
pub(crate) struct PostgresDatabase {
    pub(crate) access: AdminAccess,
    pub(crate) ssl_mode: WishedSslMode,
    pub(crate) ca: Option<SecretKey>,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) table_prefix: String,
    pub(crate) adopt: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct RedisServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) password: Option<SecretKey>,
}

#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: SecretKey,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
}

/// Something that must be set right before the element can be built.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Violation {
    pub(crate) part: Part,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, part: Part, reason: Reason, message: String) {
        self.0.push(Violation { part, reason, message });
    }
}

/// The element that is wished for, or all that stands against it.
pub(crate) fn validate(observed: &Observed, settings: &Settings) -> Result<Element, Vec<Violation>> {
    let mut violations = Violations::default();
    let spec = &observed.element.spec;
    let id = spec
        .element_id
        .clone()
        .unwrap_or_else(|| name::element_id(&observed.name).to_owned());
    let fleet = fleet(observed, &mut violations);
    own(observed, &mut violations);
    let image = image(observed, settings, &mut violations);
    let volume = volume(spec, &mut violations);
    let max_file_size = max_file_size(spec, &mut violations);
    let database = database(observed, &id, &mut violations);
    let discovery = observed
        .resolved()
        .discovery
        .map(|redis| discovery(observed, redis, &mut violations));
    let auth = auth(observed, &mut violations);
    match (image, volume, database, auth) {
        (Some(image), Some(volume), Some(database), Some(auth)) if violations.0.is_empty() => Ok(Element {
            namespace: observed.namespace.clone(),
            name: observed.name.clone(),
            uid: observed.uid.clone(),
            fleet,
            id,
            image,
            mode: spec.mode,
            mode_generation: mode_generation(&observed.element),
            priority: spec.priority,
            replicas: spec.replicas,
            volume,
            database,
            discovery,
            auth,
            max_file_size,
            deletion_policy: spec.deletion_policy,
            spec: spec.clone(),
        }),
        _ => Err(violations.0),
    }
}

fn fleet(observed: &Observed, violations: &mut Violations) -> Option<String> {
    let FleetRef { name } = observed.element.spec.fleet_ref.as_ref()?;
    if observed.fleet.is_none() {
        let message = format!(
            "StorageFleet {name} does not exist in namespace {}: create it, or set fleetRef to one that does",
            observed.namespace
        );
        violations.add(Part::Ready, Reason::FleetNotFound, message);
    }
    Some(name.clone())
}

/// The installation's image is for new elements: an upgrade of the operator must not restart those that run.
fn image(observed: &Observed, settings: &Settings, violations: &mut Violations) -> Option<String> {
    let effective = observed.element.status.as_ref().and_then(|it| it.effective.as_ref());
    let image = observed
        .resolved()
        .image
        .or_else(|| effective.map(|effective| effective.image.as_str()))
        .or(settings.default_image.as_deref());
    if image.is_none() && is_resolvable(observed) {
        let message = "no image is set: set image on the element or its fleet".to_owned();
        violations.add(Part::WorkloadReady, Reason::ImageMissing, message);
    }
    image.map(str::to_owned)
}

fn volume(spec: &StorageElementSpec, violations: &mut Violations) -> Option<Volume> {
    let local = spec.storage.local.as_ref()?;
    let Some(bytes) = quantity::bytes(&local.size) else {
        let message = format!(
            "storage.local.size {:?} is no size: write whole bytes with a unit, such as 10Gi",
            local.size
        );
        violations.add(Part::VolumeReady, Reason::InvalidValue, message);
        return None;
    };
    Some(Volume {
        size: local.size.clone(),
        bytes,
        class: local.storage_class_name.clone(),
        access: local.access_mode.unwrap_or_default(),
    })
}

fn max_file_size(spec: &StorageElementSpec, violations: &mut Violations) -> Option<u64> {
    let text = spec.limits.as_ref()?.max_file_size.as_ref()?;
    let bytes = quantity::bytes(text);
    if bytes.is_none() {
        let message = format!("limits.maxFileSize {text:?} is no size: write whole bytes with a unit, such as 1Gi");
        violations.add(Part::WorkloadReady, Reason::InvalidValue, message);
    }
    bytes
}

fn database(observed: &Observed, id: &str, violations: &mut Violations) -> Option<Database> {
    let wish = observed.element.spec.database.clone().unwrap_or_default();
    let table_prefix = wish.table_prefix.unwrap_or_else(|| name::table_prefix(id));
    match observed.resolved().database {
        Some(Source::Embedded) => Some(Database::Embedded { table_prefix }),
        Some(Source::Postgres(postgres)) => {
            let access = admin_access(observed, postgres, violations)?;
            Some(Database::Postgres(Box::new(PostgresDatabase {
                access,
                ssl_mode: postgres.protection(),
                ca: postgres.ca_secret_ref.as_ref().map(|reference| key(reference, CA)),
                name: wish.name.unwrap_or_else(|| name::database(id)),
                role: name::database(id),
                table_prefix,
                adopt: wish.adopt.unwrap_or_default(),
            })))
        }
        None if is_resolvable(observed) => {
            let message = "no database is set: set database.postgres or database.embedded on the element or its fleet";
            violations.add(Part::DatabaseReady, Reason::DatabaseMissing, message.to_owned());
            None
        }
        None => None,
    }
}

fn admin_access(observed: &Observed, postgres: &Postgres, violations: &mut Violations) -> Option<AdminAccess> {
    let secret = &postgres.admin_secret_ref.name;
    let whose = "the database administrator's";
    let part = Part::DatabaseReady;
    if !observed.secrets.contains_key(secret) {
        let message = format!(
            "Secret {secret} does not exist in namespace {}: create it with {whose} {USERNAME} and {PASSWORD}",
            observed.namespace
        );
        violations.add(part, Reason::SecretNotFound, message);
        return None;
    }
    let username = required(observed, secret, USERNAME, part, whose, violations);
    let password = required(observed, secret, PASSWORD, part, whose, violations);
    let ca_certificate = match &postgres.ca_secret_ref {
        Some(reference) => {
            let key = key(reference, CA);
            Some(required(
                observed,
                &key.name,
                &key.key,
                Part::DatabaseReady,
                "the database server's",
                violations,
            )?)
        }
        None => None,
    };
    Some(AdminAccess {
        host: postgres.host.clone(),
        port: postgres.port,
        username: text(username?),
        password: SecretString::from(text(password?)),
        ssl_mode: ssl_mode(postgres.protection()),
        ca_certificate,
    })
}

const fn ssl_mode(wished: WishedSslMode) -> SslMode {
    match wished {
        WishedSslMode::Disable => SslMode::Disable,
        WishedSslMode::Prefer => SslMode::Prefer,
        WishedSslMode::Require => SslMode::Require,
        WishedSslMode::VerifyCa => SslMode::VerifyCa,
        WishedSslMode::VerifyFull => SslMode::VerifyFull,
    }
}

/// The server an element that is being deleted may have something on; violations as for one that is made.
pub(crate) fn admin_access_for_cleanup(
    observed: &Observed,
    postgres: &Postgres,
) -> Result<AdminAccess, Vec<Violation>> {
    let mut violations = Violations::default();
    admin_access(observed, postgres, &mut violations).ok_or(violations.0)
}

fn discovery(observed: &Observed, redis: &Redis, violations: &mut Violations) -> RedisServer {
    let password = redis
        .password_secret_ref
        .as_ref()
        .map(|reference| key(reference, REDIS_PASSWORD));
    if let Some(key) = &password {
        required(
            observed,
            &key.name,
            &key.key,
            Part::WorkloadReady,
            "the Redis server's",
            violations,
        );
    }
    RedisServer {
        host: redis.host.clone(),
        port: redis.port,
        password,
    }
}

fn auth(observed: &Observed, violations: &mut Violations) -> Option<Identity> {
    let resolved = observed.resolved().auth;
    let Some(Auth {
        public_key_secret_ref: Some(reference),
        issuer,
        audience,
    }) = resolved
    else {
        if is_resolvable(observed) {
            let message = "no public key is set: set auth.publicKeySecretRef on the element or its fleet".to_owned();
            violations.add(Part::WorkloadReady, Reason::AuthMissing, message);
        }
        return None;
    };
    let key = key(reference, PUBLIC_KEY);
    required(
        observed,
        &key.name,
        &key.key,
        Part::WorkloadReady,
        "the token issuer's",
        violations,
    )?;
    Some(Identity {
        key,
        issuer: issuer.clone(),
        audience: audience.clone(),
    })
}

/// Without its fleet nothing can be said of what an element leaves to it: one violation is enough.
fn is_resolvable(observed: &Observed) -> bool {
    observed.element.spec.fleet_ref.is_none() || observed.fleet.is_some()
}

#[cfg(test)]
mod tests;
