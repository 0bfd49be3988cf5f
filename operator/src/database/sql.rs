//! The text of every statement that names something: quoting, and the statements built from quoted parts. Must not send any.

use super::mark::{DatabaseMark, RoleMark};
use super::{Claim, DatabaseError};

/// The longest name PostgreSQL keeps whole, in bytes (NAMEDATALEN - 1).
const LONGEST_NAME: usize = 63;

/// `name` as an SQL identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as an SQL string; relies on `standard_conforming_strings`, which every session sets.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Refuses a name PostgreSQL would cut short or could not hold.
pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), DatabaseError> {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > LONGEST_NAME {
        format!("is {} bytes long, more than {LONGEST_NAME}", name.len())
    } else if name.contains('\0') {
        "holds a NUL".to_owned()
    } else {
        return Ok(());
    };
    Err(DatabaseError::Invalid { field, problem })
}

/// One transaction that makes the role and marks it, so that a role without a mark is never ours.
pub(super) fn create_role(claim: &Claim, verifier: &str) -> String {
    format!(
        "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {password}; {mark}",
        role = identifier(&claim.role),
        password = literal(verifier),
        mark = mark_role(claim),
    )
}

/// One transaction that takes an unmarked role.
pub(super) fn adopt_role(claim: &Claim, verifier: &str) -> String {
    format!("{}; {}", set_password(claim, verifier), mark_role(claim))
}

/// Lets our role log in with the password behind `verifier`.
pub(super) fn set_password(claim: &Claim, verifier: &str) -> String {
    format!(
        "ALTER ROLE {} LOGIN PASSWORD {}",
        identifier(&claim.role),
        literal(verifier)
    )
}

/// Writes the owner onto the role.
pub(super) fn mark_role(claim: &Claim) -> String {
    format!(
        "COMMENT ON ROLE {} IS {}",
        identifier(&claim.role),
        literal(&RoleMark::new(&claim.owner).to_text())
    )
}

/// Writes the mark onto a database, or takes it off when nobody holds a claim any more.
pub(super) fn mark_database(database: &str, mark: &DatabaseMark) -> String {
    let comment = if mark.claims.is_empty() {
        "NULL".to_owned()
    } else {
        literal(&mark.to_text())
    };
    format!("COMMENT ON DATABASE {} IS {comment}", identifier(database))
}

/// An empty UTF-8 database that carries nothing a local template may hold.
pub(super) fn create_database(name: &str) -> String {
    format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'",
        identifier(name)
    )
}

/// Gives the staged database its name: from here on it exists.
pub(super) fn rename_database(from: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", identifier(from), identifier(to))
}

/// Drops a database under whoever is still connected.
pub(super) fn drop_database(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name))
}

/// Drops a role.
pub(super) fn drop_role(name: &str) -> String {
    format!("DROP ROLE IF EXISTS {}", identifier(name))
}

/// Makes the administrator a member of the role; without superuser that is what lets it act on the role's objects.
pub(super) fn join_role(name: &str) -> String {
    format!("GRANT {} TO CURRENT_USER", identifier(name))
}

/// The statements that leave PUBLIC without rights in `database` and give the element's role what it needs and no more:
/// to connect, and to make objects of its own in the schema `public`, which it does not own.
pub(super) fn grant_rights(database: &str, role: &str) -> Vec<String> {
    let (database, role) = (identifier(database), identifier(role));
    vec![
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role}"),
        "CREATE SCHEMA IF NOT EXISTS public".to_owned(),
        "REVOKE ALL ON SCHEMA public FROM PUBLIC".to_owned(),
        format!("GRANT USAGE, CREATE ON SCHEMA public TO {role}"),
    ]
}

/// The reverse of [`grant_rights`] for one role.
pub(super) fn revoke_rights(database: &str, role: &str) -> Vec<String> {
    let (database, role) = (identifier(database), identifier(role));
    vec![
        format!("REVOKE ALL ON SCHEMA public FROM {role}"),
        format!("REVOKE ALL ON DATABASE {database} FROM {role}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_and_text_stay_inside() {
        assert_eq!(identifier(r#"a"; DROP ROLE x; --"#), r#""a""; DROP ROLE x; --""#);
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn names_postgres_would_cut_are_refused() {
        assert!(check_name("role", &"x".repeat(63)).is_ok());
        for bad in ["", &"x".repeat(64), "ж".repeat(32).as_str(), "a\0b"] {
            assert!(
                matches!(
                    check_name("role", bad),
                    Err(DatabaseError::Invalid { field: "role", .. })
                ),
                "{bad:?}"
            );
        }
    }
}
