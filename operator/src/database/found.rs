//! What a server holds under the names of a claim: reads only.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};

use super::mark::{DatabaseMark, RoleMark};
use super::session::Session;
use super::{Claim, DatabaseError};

/// All a decision is made from.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) superuser: bool,
    pub(super) role: Option<FoundRole>,
    pub(super) database: Option<FoundDatabase>,
    /// The name a new database has until it is complete; one per owner and database.
    pub(super) staging: String,
    /// Whether an interrupted creation left it.
    pub(super) staged: bool,
}

/// A role of the claim's name.
#[derive(Clone, Debug)]
pub(super) struct FoundRole {
    pub(super) mark: Option<RoleMark>,
    /// Whether it has rights no element may have, or is a member of another role.
    pub(super) mighty: bool,
}

/// A database of the claim's name.
#[derive(Clone, Debug)]
pub(super) struct FoundDatabase {
    pub(super) mark: Option<DatabaseMark>,
    /// Whether it belongs to the element's role, which could then touch everybody's tables in it.
    pub(super) owned_by_role: bool,
}

/// Something in a database whose name begins with the prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Object {
    /// `TABLE`, `VIEW`, … as in `DROP` and `ALTER`.
    pub(super) kind: String,
    /// Schema and name, quoted by the server.
    pub(super) name: String,
}

impl FromRow<'_, PgRow> for Object {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            kind: row.try_get("kind")?,
            name: row.try_get("name")?,
        })
    }
}

/// Looks everything up.
pub(super) async fn find(server: &mut Session<'_>, claim: &Claim) -> Result<Found, DatabaseError> {
    let roles: Vec<(Option<String>, bool)> = server
        .rows(
            "look up the role",
            "SELECT shobj_description(oid, 'pg_authid'),
                    rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
                    OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
             FROM pg_roles WHERE rolname = $1",
            &[&claim.role],
        )
        .await?;
    let databases: Vec<(Option<String>, bool)> = server
        .rows(
            "look up the database",
            "SELECT shobj_description(oid, 'pg_database'), pg_get_userbyid(datdba) = $2
             FROM pg_database WHERE datname = $1",
            &[&claim.database, &claim.role],
        )
        .await?;
    let key = format!("{}/{}/{}", claim.owner.namespace, claim.owner.name, claim.database);
    let surroundings: Vec<(bool, String, bool)> = server
        .rows(
            "look up the administrator",
            "SELECT rolsuper, staging, EXISTS (SELECT FROM pg_database WHERE datname = staging)
             FROM pg_roles, (SELECT 'artstore_new_' || md5($1) AS staging) AS names
             WHERE rolname = current_user",
            &[&key],
        )
        .await?;
    let role = match roles.into_iter().next() {
        Some((comment, mighty)) => Some(FoundRole {
            mark: RoleMark::read(comment.as_deref())?,
            mighty,
        }),
        None => None,
    };
    let database = match databases.into_iter().next() {
        Some((comment, owned_by_role)) => Some(FoundDatabase {
            mark: DatabaseMark::read(comment.as_deref())?,
            owned_by_role,
        }),
        None => None,
    };
    // The current user always has a row; without one there is nothing it may do.
    let (superuser, staging, staged) = surroundings.into_iter().next().unwrap_or_default();
    Ok(Found {
        superuser,
        role,
        database,
        staging,
        staged,
    })
}

/// The objects under the claim's prefix that its role owns (`own`), or that somebody else does.
///
/// Leaves out what follows its table by itself: indexes, and sequences of identity and serial columns.
pub(super) async fn objects(session: &mut Session<'_>, claim: &Claim, own: bool) -> Result<Vec<Object>, DatabaseError> {
    let statement = "
        SELECT kind, name FROM (
            SELECT CASE relkind WHEN 'v' THEN 1 WHEN 'm' THEN 2 WHEN 'S' THEN 4 ELSE 3 END AS rank,
                   CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                ELSE 'TABLE' END AS kind,
                   format('%I.%I', 'public', relname) AS name, relname AS bare, relnamespace AS schema, relowner AS owner
            FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
                 AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                                 AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i'))
            UNION ALL
            SELECT 5, 'ROUTINE', format('%I.%I(%s)', 'public', proname, pg_get_function_identity_arguments(oid)),
                   proname, pronamespace, proowner FROM pg_proc
            UNION ALL
            SELECT 6, 'TYPE', format('%I.%I', 'public', typname), typname, typnamespace, typowner
            FROM pg_type WHERE typtype = 'e'
        ) AS everything
        WHERE schema = to_regnamespace('public') AND starts_with(bare::text, $1)
              AND (pg_get_userbyid(owner) = $2) = ($3 = 'own')
        ORDER BY rank, name";
    let whose = if own { "own" } else { "foreign" };
    session
        .rows(
            "list the prefix's tables",
            statement,
            &[&claim.table_prefix, &claim.role, whose],
        )
        .await
}
