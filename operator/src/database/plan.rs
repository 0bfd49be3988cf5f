//! What has to be done for a claim, or why it must not be: decided from what was found, pure.

use super::found::{Found, FoundDatabase, FoundRole};
use super::mark::DatabaseMark;
use super::{Claim, DatabaseError};

/// What `ensure` will do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) role: RoleStep,
    pub(super) database: DatabaseStep,
    /// The database's mark when it is done.
    pub(super) mark: DatabaseMark,
    /// Whose mark it takes over, to be proven before any write.
    pub(super) namesake: Option<Namesake>,
}

/// Somebody of the owner's name with another uid: its earlier life, or an element of another cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Namesake {
    /// What is marked as its.
    what: String,
    uid: String,
    /// Whose password proves that it is an earlier life.
    role: String,
}

impl Namesake {
    /// Whether a login as `claim`'s role proves anything.
    pub(super) fn has_role_of(&self, claim: &Claim) -> bool {
        self.role == claim.role
    }

    /// What it comes to when it is not an earlier life of `claim`'s owner.
    pub(super) fn refusal(self, claim: &Claim) -> DatabaseError {
        DatabaseError::OwnedByOther {
            what: self.what,
            owner: format!(
                "{} (uid {}), an element of this name in another cluster or an earlier one whose Secret is gone; \
                 database.adopt: true takes it",
                claim.owner, self.uid
            ),
        }
    }
}

/// What happens to the role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RoleStep {
    Create,
    /// Unmarked, and the claim may take it.
    Adopt,
    /// A namesake's.
    Remark,
    Keep,
}

/// What happens to the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum DatabaseStep {
    Create,
    /// Unmarked, and the claim may take it.
    Adopt,
    /// Marked, with room for this prefix.
    Join,
    /// A namesake's, or ours with an outdated mark.
    Remark,
    Keep,
}

impl DatabaseStep {
    /// Whether the claim was not in place before.
    pub(super) fn is_new(self) -> bool {
        matches!(self, Self::Create | Self::Adopt | Self::Join)
    }
}

/// What `release` will do; the role goes when no other claim needs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Farewell {
    pub(super) database: DatabaseFarewell,
    pub(super) drop_role: bool,
}

/// What happens to the database at the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum DatabaseFarewell {
    /// It is ours alone.
    Drop,
    /// Only the prefix goes; this mark stays.
    DropPrefix(DatabaseMark),
    /// Nothing of ours is in it.
    Leave,
}

/// Decides for `ensure`.
pub(super) fn plan(claim: &Claim, found: &Found) -> Result<Plan, DatabaseError> {
    // The database first: its owner's name helps the user more than the role's.
    let (database, mark) = plan_database(claim, found.database.as_ref())?;
    let role = plan_role(claim, found.role.as_ref())?;
    let namesake = match found.database.as_ref().and_then(|database| database.mark.as_ref()) {
        _ if claim.adopt => None,
        Some(held) if database != DatabaseStep::Keep => namesake_in(claim, held),
        _ => None,
    };
    let namesake = match (role, found.role.as_ref().and_then(|role| role.mark.as_ref())) {
        (RoleStep::Remark, Some(held)) if !claim.adopt && namesake.is_none() => Some(Namesake {
            what: format!("role {:?}", claim.role),
            uid: held.uid.clone(),
            role: claim.role.clone(),
        }),
        _ => namesake,
    };
    Ok(Plan {
        role,
        database,
        mark,
        namesake,
    })
}

/// The namesake whose tables could be under the claim's prefix; of several one that our role cannot prove.
fn namesake_in(claim: &Claim, mark: &DatabaseMark) -> Option<Namesake> {
    let owner = &claim.owner;
    let held = mark
        .claims
        .iter()
        .filter(|held| held.belongs_to(owner) && held.uid != owner.uid && held.overlaps(&claim.table_prefix))
        .max_by_key(|held| held.role != claim.role)?;
    Some(Namesake {
        what: format!("table prefix {:?} in database {:?}", held.prefix, claim.database),
        uid: held.uid.clone(),
        role: held.role.clone(),
    })
}

fn plan_role(claim: &Claim, found: Option<&FoundRole>) -> Result<RoleStep, DatabaseError> {
    let Some(role) = found else { return Ok(RoleStep::Create) };
    let taken = |problem| DatabaseError::RoleTaken {
        role: claim.role.clone(),
        problem,
    };
    match &role.mark {
        Some(mark) if !mark.belongs_to(&claim.owner) => Err(DatabaseError::OwnedByOther {
            what: format!("role {:?}", claim.role),
            owner: format!("{}/{}", mark.namespace, mark.name),
        }),
        // Also when it is ours: somebody gave it more since.
        _ if role.mighty => Err(taken("has rights or memberships that no element may have")),
        Some(mark) if mark.is_of(&claim.owner) => Ok(RoleStep::Keep),
        Some(_) => Ok(RoleStep::Remark),
        None if claim.adopt => Ok(RoleStep::Adopt),
        None => Err(taken("exists without an owner's mark")),
    }
}

fn plan_database(claim: &Claim, found: Option<&FoundDatabase>) -> Result<(DatabaseStep, DatabaseMark), DatabaseError> {
    let Some(database) = found else {
        return Ok((DatabaseStep::Create, DatabaseMark::new(false).with(claim)));
    };
    let Some(mark) = &database.mark else {
        return if claim.adopt {
            Ok((DatabaseStep::Adopt, DatabaseMark::new(true).with(claim)))
        } else {
            Err(DatabaseError::Unmarked {
                database: claim.database.clone(),
            })
        };
    };
    refuse_foreign(claim, mark)?;
    let wanted = mark.with(claim);
    let step = match (mark.holds(claim), *mark == wanted) {
        (false, _) => DatabaseStep::Join,
        (true, false) => DatabaseStep::Remark,
        (true, true) => DatabaseStep::Keep,
    };
    Ok((step, wanted))
}

/// A namespace is a border: elements share a database only within one. And no table may fall under two prefixes.
fn refuse_foreign(claim: &Claim, mark: &DatabaseMark) -> Result<(), DatabaseError> {
    for held in mark.claims.iter().filter(|held| !held.belongs_to(&claim.owner)) {
        let what = if held.overlaps(&claim.table_prefix) {
            format!("table prefix {:?} in database {:?}", claim.table_prefix, claim.database)
        } else if held.namespace != claim.owner.namespace {
            format!("database {:?}", claim.database)
        } else {
            continue;
        };
        return Err(DatabaseError::OwnedByOther {
            what,
            owner: held.owner(),
        });
    }
    Ok(())
}

/// Decides for `release`.
pub(super) fn farewell(claim: &Claim, found: &Found) -> Farewell {
    let mark = found.database.as_ref().and_then(|database| database.mark.as_ref());
    let rest = mark.map(|mark| {
        if mark.holds_now(claim) {
            mark.without(claim)
        } else {
            mark.clone()
        }
    });
    let database = match (mark, &rest) {
        (Some(mark), Some(rest)) if mark.holds_now(claim) => {
            if rest.claims.is_empty() && !rest.adopted {
                DatabaseFarewell::Drop
            } else {
                DatabaseFarewell::DropPrefix(rest.clone())
            }
        }
        _ => DatabaseFarewell::Leave,
    };
    let ours = found
        .role
        .as_ref()
        .and_then(|role| role.mark.as_ref())
        .is_some_and(|mark| mark.is_of(&claim.owner));
    let needed = rest.is_some_and(|rest| rest.claims.iter().any(|held| held.role == claim.role));
    Farewell {
        database,
        drop_role: ours && !needed,
    }
}

#[cfg(test)]
mod tests;
