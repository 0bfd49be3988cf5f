//! What is done outside the Kubernetes API: the database. Idempotent; what was found in place is not looked at again for a while.

use aws_lc_rs::digest;
use k8s_openapi::jiff::SignedDuration;
use secrecy::ExposeSecret;

use super::error::Error;
use super::hex;
use super::observe::Observed;
use crate::context::{Context, Ensured};
use crate::database::{AdminAccess, Claim};

/// Puts the database in place; `None` when the element keeps its index in its volume.
pub(crate) async fn database(
    context: &Context,
    observed: &Observed,
    claim: Option<&(AdminAccess, Claim)>,
) -> Result<Option<Ensured>, Error> {
    let Some((access, claim)) = claim else { return Ok(None) };
    let fingerprint = fingerprint(access, claim);
    let now = context.clock.now();
    let patience = SignedDuration::try_from(context.settings.check_database_every).unwrap_or(SignedDuration::MAX);
    let known = observed.recollection.ensured.as_ref();
    if let Some(known) =
        known.filter(|known| known.fingerprint == fingerprint && now.duration_since(known.at) < patience)
    {
        return Ok(Some(known.clone()));
    }
    let provisioned = context.databases.ensure(access, claim).await?;
    if provisioned.created {
        tracing::info!(
            database = claim.database,
            owner = provisioned.owner,
            "database put in place"
        );
    }
    let ensured = Ensured {
        fingerprint,
        owner: provisioned.owner,
        at: now,
    };
    context
        .memory
        .update(&observed.namespace, &observed.name, &observed.uid, |memory| {
            memory.ensured = Some(ensured.clone());
        });
    Ok(Some(ensured))
}

/// A hash of all that a claim depends on.
fn fingerprint(access: &AdminAccess, claim: &Claim) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    let parts = [
        access.host.as_bytes(),
        &access.port.to_be_bytes(),
        access.username.as_bytes(),
        access.password.expose_secret().as_bytes(),
        format!("{:?}", access.ssl_mode).as_bytes(),
        access.ca_certificate.as_deref().unwrap_or_default(),
        claim.database.as_bytes(),
        claim.role.as_bytes(),
        claim.table_prefix.as_bytes(),
        claim.password.expose_secret().as_bytes(),
        claim.owner.uid.as_bytes(),
        &[u8::from(claim.adopt)],
    ]
    .map(<[u8]>::to_vec);
    for part in parts {
        hash.update(&part.len().to_be_bytes());
        hash.update(&part);
    }
    hex(hash.finish().as_ref())
}
