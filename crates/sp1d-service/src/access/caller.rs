//! Who makes a request.

use super::{
    role::{TokenRole, TokenRoles},
    tenant::TenantName,
};

/// Who makes a request, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Name of the token. `None` in a service without tokens.
    pub(crate) token: Option<String>,
    /// The tenant that owns what the caller makes.
    pub(crate) tenant: TenantName,
    pub(crate) roles: TokenRoles,
}

impl Caller {
    /// Returns the caller of a service without tokens, who may do everything.
    pub(crate) fn of_open_service() -> Self {
        Self { token: None, tenant: TenantName::default(), roles: TokenRoles::from_iter([TokenRole::Admin]) }
    }

    /// Returns what the caller can see.
    pub(crate) fn scope(&self) -> TenantScope {
        if self.roles.is_admin() { TenantScope::All } else { TenantScope::One(self.tenant.clone()) }
    }
}

/// Whose proofs and programs a caller can see. All others do not exist for the caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TenantScope {
    All,
    One(TenantName),
}

impl TenantScope {
    /// Returns the only visible tenant. `None` if all tenants are visible.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::One(tenant) => Some(tenant.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(roles: &str, expected: Option<&str>) {
        let caller = Caller { token: None, tenant: "a".parse().unwrap(), roles: roles.parse().unwrap() };
        assert_eq!(caller.scope().tenant(), expected, "{roles}");
    }

    #[test]
    fn only_an_administrator_sees_other_tenants() {
        check("read,submit,operate", Some("a"));
        check("admin", None);
        assert_eq!(Caller::of_open_service().scope(), TenantScope::All);
    }
}
