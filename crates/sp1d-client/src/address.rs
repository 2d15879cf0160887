//! The URL of a service, and how it is shown.

use crate::error::ClientError;
use reqwest::Url;
use std::{fmt, net::IpAddr, str::FromStr};

/// What replaces credentials in a text for people.
const HIDDEN: &str = "***";

/// The URL of a service: `http` or `https`, a host, and optionally a port, a path prefix, and a user name with a
/// password. The shown form contains neither user name nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    /// With credentials, without a trailing slash.
    full: String,
    /// Without credentials and without a trailing slash.
    shown: String,
    encrypted: bool,
    loopback: bool,
    has_credentials: bool,
}

impl ServiceUrl {
    /// Returns the URL with credentials for the path `path`, which starts with a slash.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.full)
    }

    /// Returns the URL without credentials and without a trailing slash.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns true for `https`.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Returns true if the URL has a user name or a password.
    pub(crate) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    /// Returns true for `localhost`, its subdomains, and loopback addresses.
    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl FromStr for ServiceUrl {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address { url: redacted(text) };
        let url = Url::parse(text.trim()).map_err(|_| wrong())?;
        let encrypted = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        let host = url.host_str().ok_or_else(wrong)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong());
        }
        let (loopback, has_credentials) = (is_loopback(host), has_credentials(&url));
        let plain = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        let shown = plain(&without_credentials(url.clone()));
        Ok(Self { full: plain(&url), shown, encrypted, loopback, has_credentials })
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.');
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Hides user name and password of a valid URL.
fn without_credentials(mut url: Url) -> Url {
    if has_credentials(&url) {
        // Setting them fails only for URLs that cannot have credentials.
        let _ = url.set_username(HIDDEN);
        let _ = url.set_password(None);
    }
    url
}

/// Returns the text of a URL without user name, password, query and fragment. The text may be an invalid URL. Then
/// everything before the last `@` may be a password and is hidden.
#[must_use]
pub fn redacted(text: &str) -> String {
    let text = text.trim();
    if let Ok(mut url) = Url::parse(text)
        && url.has_host()
    {
        url.set_query(None);
        url.set_fragment(None);
        return without_credentials(url).to_string();
    }
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((before, host)) => {
            let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
            format!("{}{HIDDEN}@{host}", scheme.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the URL for a path, and the shown form.
    #[track_caller]
    fn check(text: &str, at: &str, shown: &str) {
        let url: ServiceUrl = text.parse().unwrap();
        assert_eq!((url.at("/v1/proofs").as_str(), url.shown()), (at, shown), "{text}");
        assert_eq!(format!("{url:?}"), format!("{shown:?}"));
    }

    #[test]
    fn path_prefix_and_credentials_are_kept_and_credentials_are_not_shown() {
        check("http://10.0.0.7:8090", "http://10.0.0.7:8090/v1/proofs", "http://10.0.0.7:8090");
        check("http://10.0.0.7:8090/", "http://10.0.0.7:8090/v1/proofs", "http://10.0.0.7:8090");
        check(
            " https://proofs.example.com/sp1d/ ",
            "https://proofs.example.com/sp1d/v1/proofs",
            "https://proofs.example.com/sp1d",
        );
        check(
            "https://me:secret@proofs.example.com",
            "https://me:secret@proofs.example.com/v1/proofs",
            "https://***@proofs.example.com",
        );
        check("http://[::1]:8090", "http://[::1]:8090/v1/proofs", "http://[::1]:8090");
    }

    #[test]
    fn other_texts_are_refused_without_showing_secrets() {
        for text in [
            "localhost:8090",
            "",
            "ftp://me:secret@host",
            "http://",
            "http://host?token=secret",
            "http://me:secret@host/#secret",
            "me:secret@host:8090",
            "http://me:sec/secret@host:port",
        ] {
            let error = text.parse::<ServiceUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
            assert!(error.contains("http://HOST:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn loopback_is_recognized_by_name_and_address() {
        let loopback = |host: &str| format!("http://{host}:8090").parse::<ServiceUrl>().unwrap().is_loopback();
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "[::2]", "127.0.0.1.example.com"] {
            assert!(!loopback(host), "{host}");
        }
    }
}
