//! Rights: what a caller may do with files, and whether it may change the mode.

use element_api::{Operation, Role};

/// What a caller may do. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    create: bool,
    read: bool,
    update: bool,
    delete: bool,
    search: bool,
    admin: bool,
}

impl Rights {
    /// The rights of a role.
    pub(crate) const fn of_role(role: Role) -> Self {
        Self {
            create: role.may(Operation::Create),
            read: role.may(Operation::Read),
            update: role.may(Operation::Update),
            delete: role.may(Operation::Delete),
            search: role.may(Operation::Search),
            admin: matches!(role, Role::Admin),
        }
    }

    /// The rights of one scope: `files:read` reads, `files:write` stores and changes, `storage:write` is an operator's.
    pub(crate) fn of_scope(scope: &str) -> Self {
        match scope {
            "files:read" => Self {
                read: true,
                search: true,
                ..Self::default()
            },
            "files:write" => Self {
                create: true,
                update: true,
                ..Self::default()
            },
            "storage:write" => Self::of_role(Role::Operator),
            _ => Self::default(),
        }
    }

    /// Both rights together.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            create: self.create || other.create,
            read: self.read || other.read,
            update: self.update || other.update,
            delete: self.delete || other.delete,
            search: self.search || other.search,
            admin: self.admin || other.admin,
        }
    }

    pub(crate) const fn may(self, operation: Operation) -> bool {
        match operation {
            Operation::Create => self.create,
            Operation::Read => self.read,
            Operation::Update => self.update,
            Operation::Delete => self.delete,
            Operation::Search => self.search,
        }
    }

    /// Whether the caller may change the mode.
    pub(crate) const fn is_admin(self) -> bool {
        self.admin
    }

    /// Whether there is nothing the caller may do.
    pub(crate) fn are_none(self) -> bool {
        self == Self::default()
    }
}
