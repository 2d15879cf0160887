//! The roles of tokens.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A role of a token: a group of calls that the token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenRole {
    /// See the tenant's programs and proofs, follow and download proofs, and see the workers and the metrics.
    Read,
    /// Upload programs and inputs, submit proof requests, and cancel and delete the tenant's proofs.
    Submit,
    /// Drain, resume and remove workers.
    Operate,
    /// All of it, for the proofs and programs of all tenants.
    Admin,
}

impl TokenRole {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Read, Self::Submit, Self::Operate, Self::Admin];

    /// Returns the name of the role.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// The text is not a role.
#[derive(Debug, thiserror::Error)]
#[error("`{0:.40}` is not a role: use read, submit, operate or admin")]
pub struct InvalidTokenRole(String);

impl fmt::Display for TokenRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TokenRole {
    type Err = InvalidTokenRole;

    fn from_str(text: &str) -> Result<Self, InvalidTokenRole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| InvalidTokenRole(text.to_owned()))
    }
}

/// The roles of a token. The text form has commas between the roles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRoles(BTreeSet<TokenRole>);

impl TokenRoles {
    /// Returns true if these roles permit the calls of `role`.
    #[must_use]
    pub fn allow(&self, role: TokenRole) -> bool {
        self.0.contains(&role) || self.is_admin()
    }

    /// Returns true for the roles of an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.0.contains(&TokenRole::Admin)
    }
}

impl FromIterator<TokenRole> for TokenRoles {
    fn from_iter<I: IntoIterator<Item = TokenRole>>(roles: I) -> Self {
        Self(roles.into_iter().collect())
    }
}

impl fmt::Display for TokenRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for TokenRoles {
    type Err = InvalidTokenRole;

    fn from_str(text: &str) -> Result<Self, InvalidTokenRole> {
        text.split(',').map(TokenRole::from_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which roles `text` permits, in the order of [`TokenRole::ALL`].
    #[track_caller]
    fn check(text: &str, expected: [bool; 4]) {
        let roles: TokenRoles = text.parse().unwrap();
        assert_eq!(TokenRole::ALL.map(|role| roles.allow(role)), expected, "{text}");
        assert_eq!(roles.to_string().parse::<TokenRoles>().unwrap(), roles);
    }

    #[test]
    fn only_admin_permits_what_other_roles_permit() {
        check("read", [true, false, false, false]);
        check("submit", [false, true, false, false]);
        check("operate,read", [true, false, true, false]);
        check("admin", [true; 4]);
    }

    #[test]
    fn unknown_roles_are_refused() {
        for text in ["", "root", "read,", "Read", "read submit"] {
            assert!(text.parse::<TokenRoles>().is_err(), "{text}");
        }
    }
}
