//! Roles: what a token's bearer may do. A role this project does not know has no rights.

use serde::{Deserialize, Serialize};

use crate::Operation;

/// The rights of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads, stores and changes files.
    User,
    /// A user who may also delete files.
    Operator,
    /// An operator who may also change the mode and start maintenance.
    Admin,
}

impl Role {
    /// The role named `text`, or none: an unknown role grants nothing.
    pub fn from_claim(text: &str) -> Option<Self> {
        match text {
            "user" => Some(Self::User),
            "operator" => Some(Self::Operator),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// The role as users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether the role may do `operation`; the element's mode must allow it too.
    pub const fn may(self, operation: Operation) -> bool {
        match operation {
            Operation::Create | Operation::Read | Operation::Update | Operation::Search => true,
            Operation::Delete => matches!(self, Self::Operator | Self::Admin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role;
    use crate::Operation;

    #[test]
    fn unknown_role_gives_no_rights() {
        for text in ["root", "Admin", "", "superuser"] {
            assert_eq!(Role::from_claim(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_operator_and_admin_delete() {
        assert!(!Role::User.may(Operation::Delete));
        assert!(Role::Operator.may(Operation::Delete));
        assert!(Role::Admin.may(Operation::Delete));
    }
}
