//! Names of tenants.

use std::{fmt, str::FromStr};

/// Maximum length of a name in bytes.
pub(super) const MAX_NAME_BYTES: usize = 63;

/// Returns true if `text` has 1 to 63 lower-case letters, digits, dots, hyphens and underscores.
pub(super) fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Name of a tenant: a group of users who share programs, proofs and quotas, and see nothing of other tenants. It has 1
/// to 63 lower-case letters, digits, dots, hyphens and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(String);

/// The text is not a valid name of a tenant.
#[derive(Debug, thiserror::Error)]
#[error("`{0:.80}` is not a valid tenant: use 1 to 63 lower-case letters, digits, dots, hyphens and underscores")]
pub struct InvalidTenantName(String);

impl TenantName {
    /// Name of the tenant that owns everything from before the first token, and everything from a service without
    /// tokens.
    pub const DEFAULT: &'static str = "default";

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantName {
    type Err = InvalidTenantName;

    fn from_str(text: &str) -> Result<Self, InvalidTenantName> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidTenantName(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, is_valid: bool) {
        assert_eq!(text.parse::<TenantName>().is_ok(), is_valid, "{text:?}");
    }

    #[test]
    fn tenant_has_only_letters_digits_and_three_signs() {
        for text in ["a", "team-7", "a.b_c", TenantName::DEFAULT, &"x".repeat(63)] {
            check(text, true);
        }
        for text in ["", "A", "a b", "a/b", "a\u{1f}b", "é", "a\n", &"x".repeat(64)] {
            check(text, false);
        }
    }
}
