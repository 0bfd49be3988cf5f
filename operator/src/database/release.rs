//! Taking a claim away. Each step can be the last one before a crash; the mark goes last, so that the next call goes on.
//!
//! Only what the mark says is the owner's is dropped, never with CASCADE: what hangs on it from outside is an error to show.

use super::found::{self, Object};
use super::mark::DatabaseMark;
use super::plan::{self, DatabaseFarewell};
use super::session::{MAINTENANCE, Session};
use super::{AdminAccess, Claim, DatabaseError, Released, error, sql};

/// See [`super::DatabaseServer::release`].
pub(super) async fn release(access: &AdminAccess, claim: &Claim) -> Result<Released, DatabaseError> {
    super::check(access, claim)?;
    let mut server = Session::open(access, MAINTENANCE).await?;
    server.lock(claim).await?;
    let found = found::find(&mut server, claim).await?;
    let farewell = plan::farewell(claim, &found);
    if farewell.drop_role {
        server.join_role(claim, found.superuser).await?;
    }
    let drop = |name: &str| (format!("drop database {:?}", claim.database), sql::drop_database(name));
    if found.staged {
        let (step, statement) = drop(&found.staging);
        server.run(step, &statement).await?;
    }
    let released = match farewell.database {
        DatabaseFarewell::Drop => {
            let (step, statement) = drop(&claim.database);
            server.run(step, &statement).await?;
            Released::Database
        }
        DatabaseFarewell::DropPrefix(mark) => {
            drop_prefix(access, claim, &mark, farewell.drop_role).await?;
            Released::Prefix
        }
        DatabaseFarewell::Leave => Released::Nothing,
    };
    if farewell.drop_role {
        drop_role(&mut server, claim).await?;
    }
    server.close().await;
    Ok(released)
}

/// In one transaction: the objects, the rights, the claim in the mark.
async fn drop_prefix(
    access: &AdminAccess,
    claim: &Claim,
    mark: &DatabaseMark,
    role_goes: bool,
) -> Result<(), DatabaseError> {
    let mut target = Session::open(access, &claim.database).await?;
    if role_goes {
        end_sessions(&mut target, claim).await?;
    }
    let mut statements = drop_objects(&found::objects(&mut target, claim, true).await?);
    if role_goes {
        statements.extend(sql::revoke_rights(&claim.database, &claim.role));
    }
    statements.push(sql::mark_database(&claim.database, mark));
    let step = format!(
        "drop the tables {:?} in database {:?}",
        claim.table_prefix, claim.database
    );
    target.run(step, &statements.join("; ")).await?;
    target.close().await;
    Ok(())
}

/// A connection the element left would hold its tables locked.
async fn end_sessions(target: &mut Session<'_>, claim: &Claim) -> Result<(), DatabaseError> {
    let _ended: Vec<(bool,)> = target
        .rows(
            "end the element's sessions",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()",
            &[&claim.role],
        )
        .await?;
    Ok(())
}

/// One statement per kind, so that foreign keys among ours do not stand in the way.
fn drop_objects(objects: &[Object]) -> Vec<String> {
    objects
        .chunk_by(|left, right| left.kind == right.kind)
        .filter_map(|group| {
            let names: Vec<&str> = group.iter().map(|object| object.name.as_str()).collect();
            group
                .first()
                .map(|first| format!("DROP {} {}", first.kind, names.join(", ")))
        })
        .collect()
}

/// A role that still has something elsewhere (a retained database, objects from before it was adopted) stays, marked as it is.
async fn drop_role(server: &mut Session<'_>, claim: &Claim) -> Result<(), DatabaseError> {
    match server
        .run(format!("drop role {:?}", claim.role), &sql::drop_role(&claim.role))
        .await
    {
        Err(DatabaseError::Query { source, .. }) if error::code(&source).as_deref() == Some("2BP01") => Ok(()),
        other => other,
    }
}
