//! The errors of requests to a service.

use crate::credentials::ClientCredentials;
use reqwest::StatusCode;
use rustls::CertificateError;
use serde_json::Value;
use sp1d_model::hint;
use std::{error::Error, io, iter, path::PathBuf};

/// Why a request to a service failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not a valid address of a service.
    #[error(
        "invalid service address {url:?}: expected http://HOST:PORT or https://HOST:PORT, with an optional path\n\
         hint: set the address with `--url` or `SP1_DISTRIBUTED_URL`"
    )]
    Address {
        /// The URL as given, without credentials.
        url: String,
    },
    /// A file of the client's settings cannot be used.
    #[error("cannot read {content} from {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file should contain.
        content: &'static str,
        /// What is wrong with the file.
        reason: String,
    },
    /// The HTTP client cannot be created.
    #[error("cannot set up the HTTP client: {cause}")]
    Setup {
        /// The cause of the failure.
        cause: String,
    },
    /// The service was reached, but the encrypted connection failed.
    #[error("cannot encrypt the connection to the service at {url}: {cause}\nhint: {hint}")]
    Encryption {
        /// The URL of the service.
        url: String,
        /// The cause of the failure.
        cause: String,
        /// What the user can do about the failure.
        hint: &'static str,
    },
    /// A server redirects the client to another address.
    #[error("the server at {url} redirects to {location:?}\nhint: use the address of the service itself")]
    Redirected {
        /// The URL of the service.
        url: String,
        /// The other address, without credentials. Relative if it is on the same server, and empty if the server sends
        /// none.
        location: String,
    },
    /// The service does not respond, or the connection was lost.
    #[error(
        "cannot reach the service at {url}: {cause}\n\
         hint: start it with `sp1d serve` or `systemctl start sp1d-serve`, or set its address with `--url` or \
         `SP1_DISTRIBUTED_URL`"
    )]
    Unreachable {
        /// The URL of the service.
        url: String,
        /// The cause of the failure.
        cause: String,
    },
    /// The service responded with an error.
    #[error("{text}{}", hint_line(.hint.as_deref()))]
    Refused {
        /// The HTTP status of the response, see RFC 9110.
        status: u16,
        /// The service's error text.
        text: String,
        /// What the user can do about the error, if the service knows it.
        hint: Option<String>,
    },
    /// The response is not from a service of this release.
    #[error(
        "{url} is not a service of this sp1d release: {cause}\n\
         hint: check the address, and install the same sp1d release on both machines (`sp1d --version`)"
    )]
    Foreign {
        /// The URL of the service.
        url: String,
        /// What is wrong with the response.
        cause: String,
    },
}

/// Returns the hint as a further line of an error text.
fn hint_line(hint: Option<&str>) -> String {
    hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}

impl ClientError {
    /// Returns true if the same request may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // Status 429: too many requests.
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Address { .. }
            | Self::File { .. }
            | Self::Setup { .. }
            | Self::Encryption { .. }
            | Self::Redirected { .. }
            | Self::Foreign { .. } => false,
        }
    }

    /// Returns the error text without its hint, for log lines.
    #[must_use]
    pub fn without_hint(&self) -> String {
        hint::without(&self.to_string()).to_owned()
    }

    /// Returns the error for a response with this status and body to a request with these credentials. The body is a
    /// problem document if the response is from a service, see RFC 9457.
    pub(crate) fn refused(url: &str, credentials: ClientCredentials, status: StatusCode, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let own = |name: &str| problem[name].as_str().map(ToOwned::to_owned);
        let (text, hint) = match own("detail") {
            Some(text) => (text, own("hint")),
            None => {
                let refused = if status == StatusCode::UNAUTHORIZED { refused_credentials(credentials) } else { "" };
                let hint = proxy_hint(credentials, status).map(ToOwned::to_owned);
                (format!("the server at {url} responded with {status}{refused}"), hint)
            }
        };
        Self::Refused { status: status.as_u16(), text, hint }
    }

    /// Returns the error for a request that got no response.
    pub(crate) fn failed(url: &str, error: &reqwest::Error) -> Self {
        let (url, cause) = (url.to_owned(), root_cause(error));
        if is_tls_failure(error) {
            Self::Encryption { url, cause, hint: tls_hint(error) }
        } else {
            Self::Unreachable { url, cause }
        }
    }
}

/// Returns the end of the error text for credentials that a proxy does not accept.
const fn refused_credentials(credentials: ClientCredentials) -> &'static str {
    match credentials {
        ClientCredentials::None => "",
        ClientCredentials::Url => ": it does not accept the user name or the password in the URL",
        ClientCredentials::Token => ": it does not accept the token",
    }
}

/// Returns the hint for an error response that is not from a service, but from a proxy in front of it.
fn proxy_hint(credentials: ClientCredentials, status: StatusCode) -> Option<&'static str> {
    Some(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => match credentials {
            ClientCredentials::None => {
                "a proxy in front of the service asks for credentials: pass them with `--token-file` or \
                 `SP1_DISTRIBUTED_TOKEN_FILE`, or as a user name and a password in the URL"
            }
            ClientCredentials::Url => {
                "correct the user name and the password in `--url` or `SP1_DISTRIBUTED_URL`; write special characters \
                 in them percent-encoded, for example %40 instead of @"
            }
            ClientCredentials::Token => {
                "write a valid token to the file that `--token-file` or `SP1_DISTRIBUTED_TOKEN_FILE` names"
            }
        },
        StatusCode::NOT_FOUND => {
            "check the URL: a proxy can offer the service under a prefix, or only with `https` instead of `http`"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            "add a user name and a password to the URL of the proxy in `HTTP_PROXY` or `HTTPS_PROXY`"
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            "a proxy in front of the service limits the size of requests: raise its limit, for example \
             `client_max_body_size` of nginx"
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            "a proxy cannot reach the service: check that `sp1d serve` runs"
        }
        _ => return None,
    })
}

/// Returns the deepest cause of an error. The text of the `reqwest` error itself names the address, but not the
/// problem.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Returns an error and all its causes, from the outermost one.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(Some(error as &(dyn Error + 'static)), |&found| {
        // An I/O error that wraps another error leaves that error out of its sources.
        let wrapped = found.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| found.source())
    })
}

/// Returns true if a connection was opened and its TLS handshake failed. Such a failure is an I/O error about invalid
/// data.
fn is_tls_failure(error: &reqwest::Error) -> bool {
    let is_invalid_data = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
    };
    error.is_connect() && causes(error).any(is_invalid_data)
}

/// Returns the hint for a TLS handshake that failed.
fn tls_hint(error: &reqwest::Error) -> &'static str {
    match causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(problem)) => certificate_hint(problem),
        Some(_) | None => "check that the address is one of an HTTPS server",
    }
}

/// Returns the hint for a server's certificate with this problem.
fn certificate_hint(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "use a host name of the certificate in the URL, or give the server a certificate for this one"
        }
        // The signature is wrong if two authorities have the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "if a private authority signed the certificate, pass the authority's certificate with `--ca` or \
             `SP1_DISTRIBUTED_CA_FILE`"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "check the clock of this machine, and renew the certificate of the server if it has expired"
        }
        _ => "give the server another certificate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the error of a response with this body and status 502.
    #[track_caller]
    fn check_refused(body: &str, expected: &str) {
        let (credentials, status) = (ClientCredentials::None, StatusCode::BAD_GATEWAY);
        let error = ClientError::refused("http://10.0.0.7:8080", credentials, status, body.as_bytes());
        assert_eq!(error.to_string(), expected);
        assert_eq!(Some(error.without_hint().as_str()), expected.lines().next());
    }

    #[test]
    fn an_error_response_is_shown_with_its_hint() {
        let hint = "no proof 7\nhint: list the proofs with `sp1d proofs`";
        check_refused(r#"{"detail": "no proof 7", "hint": "list the proofs with `sp1d proofs`"}"#, hint);
        check_refused(r#"{"detail": "no proof 7"}"#, "no proof 7");
        check_refused(r#"{"detail": "no proof 7", "hint": null}"#, "no proof 7");
        let status = "the server at http://10.0.0.7:8080 responded with 502 Bad Gateway\n\
                      hint: a proxy cannot reach the service: check that `sp1d serve` runs";
        for body in ["", "<html>", "[]", "{}", r#""no proof 7""#] {
            check_refused(body, status);
        }
    }

    #[test]
    fn a_proxy_that_refuses_credentials_has_another_message_than_one_that_asks_for_them() {
        let check = |credentials, status, line: &str, hint: &str| {
            let error = ClientError::refused("https://***@10.0.0.7", credentials, status, b"<html>").to_string();
            let (found, rest) = error.split_once("\nhint: ").expect("the error has a hint");
            assert_eq!(found, format!("the server at https://***@10.0.0.7 responded with {line}"));
            assert!(rest.contains(hint), "no {hint:?} in {rest}");
        };
        let (wrong, forbidden) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
        check(ClientCredentials::None, wrong, "401 Unauthorized", "asks for credentials");
        let password = "401 Unauthorized: it does not accept the user name or the password in the URL";
        check(ClientCredentials::Url, wrong, password, "`SP1_DISTRIBUTED_URL`");
        check(ClientCredentials::Token, wrong, "401 Unauthorized: it does not accept the token", "a valid token");
        check(ClientCredentials::None, forbidden, "403 Forbidden", "asks for credentials");
        check(ClientCredentials::Url, forbidden, "403 Forbidden", "`SP1_DISTRIBUTED_URL`");
    }

    #[test]
    fn each_problem_of_a_certificate_has_its_own_hint() {
        for (problem, part) in [
            (CertificateError::NotValidForName, "host name of the certificate"),
            (CertificateError::UnknownIssuer, "`--ca`"),
            (CertificateError::Expired, "renew"),
            (CertificateError::Revoked, "another certificate"),
        ] {
            assert!(certificate_hint(&problem).contains(part), "{problem:?}: {}", certificate_hint(&problem));
        }
    }

    #[test]
    fn the_hint_of_an_unreachable_service_is_on_its_own_line() {
        let error = ClientError::Unreachable { url: "http://10.0.0.7:8080".to_owned(), cause: "reset".to_owned() };
        assert_eq!(error.without_hint(), "cannot reach the service at http://10.0.0.7:8080: reset");
        assert!(error.to_string().lines().nth(1).is_some_and(|line| line.starts_with("hint: ")), "{error}");
    }
}
