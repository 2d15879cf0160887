//! How a client connects to a service: the URL, the certificates that it trusts, and its credentials.

use crate::{
    address::ServiceUrl,
    credentials::ClientCredentials,
    error::{ClientError, root_cause},
};
use reqwest::{
    Certificate, ClientBuilder,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect::Policy,
};
use sp1d_model::counted;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

sp1d_model::limits! {
    /// Maximum time to open a connection.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5); Time by Service;
}

/// Maximum size of a file with certificates. The certificates of all public authorities together need a fourth of it.
const MAX_CA_BYTES: u64 = 1 << 20;

/// Maximum size of a file with a token.
const MAX_TOKEN_BYTES: u64 = 16 << 10;

/// How a client connects to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// URL of the service.
    pub url: ServiceUrl,
    /// File with the certificates, in PEM form, of the only authorities to trust for `https`. Without it, the client
    /// trusts the authorities of the system. If the system has none, for example in a small container, the client
    /// trusts those of Mozilla, which are part of this program.
    pub ca_file: Option<PathBuf>,
    /// File with a token that the client sends with each request (`Authorization: Bearer`). A user name and a password
    /// in the URL take precedence.
    pub token_file: Option<PathBuf>,
}

impl ClientSettings {
    /// Returns the settings for a service at `url`, without a token and with the system's authorities.
    #[must_use]
    pub fn new(url: ServiceUrl) -> Self {
        Self { url, ca_file: None, token_file: None }
    }

    /// Returns what the client sends to identify itself.
    pub(crate) fn credentials(&self) -> ClientCredentials {
        match &self.token_file {
            _ if self.url.has_credentials() => ClientCredentials::Url,
            Some(_) => ClientCredentials::Token,
            None => ClientCredentials::None,
        }
    }

    /// Returns what the client sends so that others on the network can read it: credentials over `http`, unless the
    /// service is on this machine.
    fn unencrypted_credentials(&self) -> Option<&'static str> {
        if self.url.is_encrypted() || self.url.is_loopback() {
            return None;
        }
        match self.credentials() {
            ClientCredentials::None => None,
            ClientCredentials::Url => Some("the user name and the password"),
            ClientCredentials::Token => Some("the token"),
        }
    }
}

/// Creates the HTTP client for these settings. It reads the files of the settings. It honors the variables
/// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of the environment, but never sends requests for this
/// machine to a proxy.
pub(crate) fn http_client(settings: &ClientSettings) -> Result<reqwest::Client, ClientError> {
    // Browsers turn redirected uploads into downloads, and so would a client. A redirect means that the URL is wrong.
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(Policy::none());
    if settings.url.is_loopback() {
        builder = builder.no_proxy();
    }
    let ca_file = settings.ca_file.as_deref().filter(|_| settings.url.is_encrypted());
    if settings.url.is_encrypted() {
        builder = trust(builder, ca_file)?;
    }
    if let Some(readable) = settings.unencrypted_credentials() {
        let url = settings.url.shown();
        tracing::warn!(url, "others on the network can read {readable}: use an https URL");
    }
    if let Some(path) = &settings.token_file {
        builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization(path)?)]));
    }
    builder.build().map_err(|error| match ca_file {
        Some(path) => unusable(path, "certificates", root_cause(&error)),
        None => ClientError::Setup { cause: root_cause(&error) },
    })
}

fn unusable(path: &Path, content: &'static str, reason: String) -> ClientError {
    ClientError::File { path: path.to_owned(), content, reason }
}

/// Sets the authorities that the client trusts.
fn trust(builder: ClientBuilder, ca_file: Option<&Path>) -> Result<ClientBuilder, ClientError> {
    let roots = match ca_file {
        Some(path) => given_roots(path)?,
        None => system_roots(),
    };
    if roots.is_empty() {
        return Ok(builder);
    }
    Ok(roots.into_iter().fold(builder.tls_built_in_root_certs(false), ClientBuilder::add_root_certificate))
}

fn given_roots(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let content = "certificates";
    let pem = read_file(path, content, MAX_CA_BYTES)?;
    let roots = Certificate::from_pem_bundle(&pem)
        .map_err(|error| unusable(path, content, early_end(&pem).unwrap_or_else(|| root_cause(&error))))?;
    if roots.is_empty() {
        let text = "it contains no certificate in PEM form, which starts with the line `-----BEGIN CERTIFICATE-----`";
        return Err(unusable(path, content, text.to_owned()));
    }
    Ok(roots)
}

/// Describes certificates that cannot be read because the file was cut off: it does not end with the mark of an end.
fn early_end(pem: &[u8]) -> Option<String> {
    let bytes = counted(pem.len(), "byte");
    (!pem.trim_ascii_end().ends_with(b"-----")).then(|| {
        format!("it ends too early, after {bytes}\nhint: copy the file again, because a part at its end is missing")
    })
}

/// Returns the root certificates of the system, without those that TLS cannot use.
fn system_roots() -> Vec<Certificate> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "cannot read a root certificate of the system");
    }
    let usable = found.certs.iter().filter(|root| webpki::anchor_from_trusted_cert(root).is_ok());
    usable.filter_map(|root| Certificate::from_der(root).ok()).collect()
}

/// Returns the header with the token of a file.
fn authorization(path: &Path) -> Result<HeaderValue, ClientError> {
    let content = "a token";
    let bytes = read_file(path, content, MAX_TOKEN_BYTES)?;
    let token = bytes.trim_ascii();
    // The characters of RFC 6750, section 2.1, and other visible ones: the token is for the proxy to judge.
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        let text = "expected one line of visible ASCII characters without spaces";
        return Err(unusable(path, content, text.to_owned()));
    }
    let mut value =
        HeaderValue::from_bytes(&[&b"Bearer "[..], token].concat()).expect("the characters are visible ASCII");
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a file of at most `limit` bytes.
fn read_file(path: &Path, content: &'static str, limit: u64) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|error| unusable(path, content, error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(unusable(path, content, format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the error for a file with this content, or no error.
    #[track_caller]
    fn check_token(content: &[u8], expected: Result<&str, &str>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        match (authorization(file.path()), expected) {
            (Ok(value), Ok(header)) => {
                assert_eq!(value.as_bytes(), header.as_bytes());
                assert!(!format!("{value:?}").contains("abc"), "{value:?}");
            }
            (Err(error), Err(part)) => {
                let text = error.to_string();
                assert!(text.contains(part) && text.contains(file.path().to_str().unwrap()), "{text}");
            }
            (found, _) => panic!("{content:?}: {found:?}"),
        }
    }

    #[test]
    fn token_is_one_line_of_a_file() {
        check_token(b"abc.def-_~+/=\n", Ok("Bearer abc.def-_~+/="));
        check_token(b"abc", Ok("Bearer abc"));
        check_token(b"\n", Err("one line"));
        check_token(b"abc def", Err("one line"));
        check_token(b"abc\ndef", Err("one line"));
        check_token("abc\u{e9}".as_bytes(), Err("one line"));
        check_token(&[b'a'; MAX_TOKEN_BYTES as usize + 1], Err("more than 16384 bytes"));
    }

    #[test]
    fn credentials_are_readable_by_others_only_over_http_to_another_machine() {
        let check = |url: &str, token_file: Option<&str>, expected: Option<&str>| {
            let token_file = token_file.map(PathBuf::from);
            let settings = ClientSettings { url: url.parse().unwrap(), ca_file: None, token_file };
            assert_eq!(settings.unencrypted_credentials(), expected, "{url}");
        };
        check("http://10.0.0.7", None, None);
        check("http://10.0.0.7", Some("token"), Some("the token"));
        check("http://me:secret@10.0.0.7", None, Some("the user name and the password"));
        check("http://me@proofs.example.com", Some("token"), Some("the user name and the password"));
        for url in ["https://me:secret@10.0.0.7", "http://me:secret@127.0.0.1", "http://me:secret@localhost:8090"] {
            check(url, Some("token"), None);
        }
    }

    #[test]
    fn missing_and_wrong_certificate_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let mut settings = ClientSettings::new("https://localhost:1".parse().unwrap());
        settings.ca_file = Some(ca.clone());
        let check = |part: &str| {
            let error = http_client(&settings).unwrap_err();
            assert!(matches!(&error, ClientError::File { path, .. } if *path == ca), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        };
        check("No such file");
        std::fs::write(&ca, "no certificate").unwrap();
        check("BEGIN CERTIFICATE");
        std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        check("ca.pem");
        for cut_off in ["-----BEGIN CERTIFICATE-----\nAAAA", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERT"] {
            std::fs::write(&ca, cut_off).unwrap();
            check(&format!("it ends too early, after {} bytes\nhint: copy the file again", cut_off.len()));
        }
        // The file is not needed without encryption.
        http_client(&ClientSettings { url: "http://localhost:1".parse().unwrap(), ..settings }).unwrap();
    }
}
