//! The element's settings over its fleet's: what holds. Pure.

use artstore_crds::{Auth, Discovery, Postgres, Redis, StorageElementSpec, StorageFleetSpec};

/// Where the index is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source<'a> {
    /// On this server.
    Postgres(&'a Postgres),
    /// In the volume.
    Embedded,
}

/// The settings that hold; `None` is set nowhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resolved<'a> {
    pub(crate) image: Option<&'a str>,
    pub(crate) database: Option<Source<'a>>,
    pub(crate) discovery: Option<&'a Redis>,
    pub(crate) auth: Option<&'a Auth>,
}

/// Puts the element's settings over the fleet's.
pub(crate) fn resolve<'a>(spec: &'a StorageElementSpec, fleet: Option<&'a StorageFleetSpec>) -> Resolved<'a> {
    let discovery = spec.discovery.as_ref().or_else(|| fleet?.discovery.as_ref());
    Resolved {
        image: spec.image.as_deref().or_else(|| fleet?.image.as_deref()),
        database: database(spec, fleet),
        discovery: discovery.and_then(|Discovery { redis }| redis.as_ref()),
        auth: spec.auth.as_ref().or_else(|| fleet?.auth.as_ref()),
    }
}

fn database<'a>(spec: &'a StorageElementSpec, fleet: Option<&'a StorageFleetSpec>) -> Option<Source<'a>> {
    let own = spec
        .database
        .as_ref()
        .and_then(|database| source(database.postgres.as_ref(), database.embedded.is_some()));
    own.or_else(|| {
        let database = fleet?.database.as_ref()?;
        source(database.postgres.as_ref(), database.embedded.is_some())
    })
}

fn source(postgres: Option<&Postgres>, embedded: bool) -> Option<Source<'_>> {
    postgres
        .map(Source::Postgres)
        .or_else(|| embedded.then_some(Source::Embedded))
}

impl<'a> Resolved<'a> {
    /// The names of the Secrets these settings refer to.
    pub(crate) fn secrets(&self) -> Vec<&'a str> {
        let mut names = Vec::new();
        if let Some(Source::Postgres(postgres)) = self.database {
            names.push(postgres.admin_secret_ref.name.as_str());
            names.extend(postgres.ca_secret_ref.as_ref().map(|reference| reference.name.as_str()));
        }
        names.extend(
            self.discovery
                .and_then(|redis| redis.password_secret_ref.as_ref())
                .map(|reference| reference.name.as_str()),
        );
        names.extend(
            self.auth
                .and_then(|auth| auth.public_key_secret_ref.as_ref())
                .map(|reference| reference.name.as_str()),
        );
        names
    }
}
