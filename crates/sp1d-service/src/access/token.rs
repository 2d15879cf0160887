//! Tokens: the secrets with which clients show who they are.
//!
//! A token has an id, by which the service finds its record, and a secret of 256 random bits. The service stores only
//! the SHA-256 digest of the secret. A slow hash such as Argon2 protects passwords, because an attacker with the hash
//! can try likely passwords. No attacker can try 2^255 secrets, and a slow hash would let clients waste the processor
//! time of the service.

use super::tenant::is_name;
use ring::digest::{SHA256, digest};
use std::{fmt, str::FromStr};

/// Start of every token, so that scanners for leaked secrets find it.
const PREFIX: &str = "sp1d_";

/// Name of a token: who or what uses it. It has 1 to 63 lower-case letters, digits, dots, hyphens and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiTokenName(String);

/// The text is not a valid name of a token.
#[derive(Debug, thiserror::Error)]
#[error("`{0:.80}` is not a valid name: use 1 to 63 lower-case letters, digits, dots, hyphens and underscores")]
pub struct InvalidApiTokenName(String);

impl fmt::Display for ApiTokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ApiTokenName {
    type Err = InvalidApiTokenName;

    fn from_str(text: &str) -> Result<Self, InvalidApiTokenName> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidApiTokenName(text.to_owned())) }
    }
}

/// The public part of a token: 8 random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApiTokenId([u8; 8]);

impl fmt::Display for ApiTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// SHA-256 digest of the secret of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiTokenDigest(pub(crate) [u8; 32]);

impl PartialEq for ApiTokenDigest {
    /// Takes the same time for all digests, as the comparison of [`blake3::Hash`] does.
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
    }
}

impl Eq for ApiTokenDigest {}

/// A token. Its `Display` is the secret text that a client sends.
pub struct ApiToken {
    id: ApiTokenId,
    secret: [u8; 32],
}

/// The text does not have the form of a token.
#[derive(Debug, thiserror::Error)]
#[error("the text does not have the form of a token")]
pub struct InvalidApiToken;

impl ApiToken {
    /// Makes a new token.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut token = Self { id: ApiTokenId([0; 8]), secret: [0; 32] };
        getrandom::fill(&mut token.id.0)?;
        getrandom::fill(&mut token.secret)?;
        Ok(token)
    }

    /// Returns the public part.
    pub(crate) const fn id(&self) -> ApiTokenId {
        self.id
    }

    /// Returns what the service stores of the secret.
    pub(crate) fn digest(&self) -> ApiTokenDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &self.secret).as_ref());
        ApiTokenDigest(bytes)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Display for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_", self.id)?;
        write_hex(f, &self.secret)
    }
}

impl FromStr for ApiToken {
    type Err = InvalidApiToken;

    fn from_str(text: &str) -> Result<Self, InvalidApiToken> {
        let parts = text.strip_prefix(PREFIX).and_then(|parts| parts.split_once('_'));
        let (id, secret) = parts.ok_or(InvalidApiToken)?;
        Ok(Self { id: ApiTokenId(read_hex(id)?), secret: read_hex(secret)? })
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly `N` bytes in lower-case hexadecimal digits: a token has only one text.
fn read_hex<const N: usize>(text: &str) -> Result<[u8; N], InvalidApiToken> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(InvalidApiToken),
    };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(InvalidApiToken);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_back_and_differs_from_others() {
        let (one, other) = (ApiToken::new().unwrap(), ApiToken::new().unwrap());
        let again: ApiToken = one.to_string().parse().unwrap();
        assert_eq!((again.id(), again.digest()), (one.id(), one.digest()));
        assert_ne!(one.id(), other.id());
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn digest_is_that_of_sha_256() {
        let token = ApiToken { id: ApiTokenId([0; 8]), secret: [0; 32] };
        let shown: String = token.digest().0[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, "66687aad", "the digest of 32 zero bytes");
    }

    #[test]
    fn text_for_logs_has_no_secret() {
        let token = ApiToken { id: ApiTokenId([1; 8]), secret: [0xab; 32] };
        assert!(!format!("{token:?}").contains("ab") && token.to_string().contains("abab"));
    }

    #[track_caller]
    fn check_refused(text: &str) {
        assert!(text.parse::<ApiToken>().is_err(), "{text}");
    }

    #[test]
    fn other_texts_are_refused() {
        let token = ApiToken { id: ApiTokenId([1; 8]), secret: [0xab; 32] }.to_string();
        for text in ["", "sp1d_", "sp1d__", "Bearer", &token[5..], &token[..token.len() - 1], &token.to_uppercase()] {
            check_refused(text);
        }
        check_refused(&format!("{token}0"));
        check_refused(&format!("{token} "));
        check_refused(&token.replace("abab", "é"));
    }
}
