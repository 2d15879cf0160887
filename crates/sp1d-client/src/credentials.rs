//! What identifies a client to a proxy or to a service.

/// What a client sends with each request to identify itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientCredentials {
    /// Nothing.
    None,
    /// The user name and the password in the URL.
    Url,
    /// The token of a file.
    Token,
}
