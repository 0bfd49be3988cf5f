//! The ownership marks: JSON in the comments of databases and roles, and who is who in them. Pure.

use serde::{Deserialize, Serialize};

use super::{Claim, DatabaseError, Owner};

/// What tells our marks from other people's comments.
const MANAGER: &str = "artstore-operator";

/// The comment on a database: who keeps tables in it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DatabaseMark {
    managed_by: String,
    /// Whether it was there before us: then it is never dropped as a whole.
    #[serde(default)]
    pub(super) adopted: bool,
    pub(super) claims: Vec<PrefixClaim>,
}

/// One element's share of a database.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct PrefixClaim {
    pub(super) prefix: String,
    pub(super) role: String,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The comment on a role: whose it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleMark {
    managed_by: String,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl DatabaseMark {
    /// A mark nobody has a claim in yet.
    pub(super) fn new(adopted: bool) -> Self {
        Self {
            managed_by: MANAGER.to_owned(),
            adopted,
            claims: Vec::new(),
        }
    }

    /// Reads a comment; `None` when it is not a mark of ours.
    pub(super) fn read(comment: Option<&str>) -> Result<Option<Self>, DatabaseError> {
        read(comment)
    }

    /// The comment's text.
    pub(super) fn to_text(&self) -> String {
        text(self)
    }

    /// This mark with `claim` put in or brought up to date.
    pub(super) fn with(&self, claim: &Claim) -> Self {
        let mut mark = self.without(claim);
        mark.claims.push(PrefixClaim {
            prefix: claim.table_prefix.clone(),
            role: claim.role.clone(),
            uid: claim.owner.uid.clone(),
            namespace: claim.owner.namespace.clone(),
            name: claim.owner.name.clone(),
        });
        mark.claims.sort_by(|left, right| left.prefix.cmp(&right.prefix));
        mark
    }

    /// This mark with `claim` taken out; others' claims stay, also under the same prefix.
    pub(super) fn without(&self, claim: &Claim) -> Self {
        let mut mark = self.clone();
        mark.claims.retain(|held| !held.is(claim));
        mark
    }

    /// Whether `claim`'s owner holds its prefix, whatever uid it had then.
    pub(super) fn holds(&self, claim: &Claim) -> bool {
        self.claims.iter().any(|held| held.is(claim))
    }

    /// Whether `claim`'s owner holds its prefix in this life.
    pub(super) fn holds_now(&self, claim: &Claim) -> bool {
        self.claims
            .iter()
            .any(|held| held.is(claim) && held.uid == claim.owner.uid)
    }
}

impl PrefixClaim {
    fn is(&self, claim: &Claim) -> bool {
        self.prefix == claim.table_prefix && self.belongs_to(&claim.owner)
    }

    /// Whether it is `owner`'s, whatever uid it had then.
    pub(super) fn belongs_to(&self, owner: &Owner) -> bool {
        self.namespace == owner.namespace && self.name == owner.name
    }

    /// Whether a table name could fall under both prefixes.
    pub(super) fn overlaps(&self, prefix: &str) -> bool {
        self.prefix.starts_with(prefix) || prefix.starts_with(&self.prefix)
    }

    /// `namespace/name`.
    pub(super) fn owner(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl RoleMark {
    /// The mark of `owner`'s role.
    pub(super) fn new(owner: &Owner) -> Self {
        Self {
            managed_by: MANAGER.to_owned(),
            uid: owner.uid.clone(),
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
        }
    }

    /// Reads a comment; `None` when it is not a mark of ours.
    pub(super) fn read(comment: Option<&str>) -> Result<Option<Self>, DatabaseError> {
        read(comment)
    }

    /// The comment's text.
    pub(super) fn to_text(&self) -> String {
        text(self)
    }

    /// Whether it is `owner`'s in this life.
    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        *self == Self::new(owner)
    }

    /// Whether it is `owner`'s, whatever uid it had then.
    pub(super) fn belongs_to(&self, owner: &Owner) -> bool {
        self.namespace == owner.namespace && self.name == owner.name
    }
}

/// A mark of ours that cannot be read is an error: it must not pass for an unmarked database.
fn read<Mark: serde::de::DeserializeOwned>(comment: Option<&str>) -> Result<Option<Mark>, DatabaseError> {
    let Some(value) = comment.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok()) else {
        return Ok(None);
    };
    if value.get("managedBy").and_then(serde_json::Value::as_str) != Some(MANAGER) {
        return Ok(None);
    }
    serde_json::from_value(value)
        .map(Some)
        .map_err(|error| DatabaseError::Invalid {
            field: "ownership mark",
            problem: format!("cannot be read: {error}"),
        })
}

fn text(mark: &impl Serialize) -> String {
    // INVARIANT: structs of strings, booleans and lists always serialise.
    #[allow(clippy::expect_used)]
    serde_json::to_string(mark).expect("marks serialise")
}
