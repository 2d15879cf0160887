//! The errors of requests to a service.

use reqwest::StatusCode;
use serde_json::Value;
use sp1d_model::hint;

/// Why a request to a service failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not a valid address of a service.
    #[error("invalid service address {url:?}: expected http://HOST:PORT")]
    Address {
        /// The URL as given.
        url: String,
    },
    /// The service does not respond, or the connection was lost.
    #[error(
        "cannot reach the service at {url}: {cause}\n\
         hint: start it with `sp1d serve`, or set its address with `--url` or `SP1_DISTRIBUTED_URL`"
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
            Self::Address { .. } | Self::Foreign { .. } => false,
        }
    }

    /// Returns the error text without its hint, for log lines.
    #[must_use]
    pub fn without_hint(&self) -> String {
        hint::without(&self.to_string()).to_owned()
    }

    /// Returns the error for a response with this status and body. The body is a problem document if the response is
    /// from a service, see RFC 9457.
    pub(crate) fn refused(url: &str, status: StatusCode, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = problem["detail"].as_str();
        let text = text.map_or_else(|| format!("the service at {url} responded with {status}"), ToOwned::to_owned);
        Self::Refused { status: status.as_u16(), text, hint: problem["hint"].as_str().map(ToOwned::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the error of a response with this body and status 502.
    #[track_caller]
    fn check_refused(body: &str, expected: &str) {
        let error = ClientError::refused("http://10.0.0.7:8080", StatusCode::BAD_GATEWAY, body.as_bytes());
        assert_eq!(error.to_string(), expected);
        assert_eq!(Some(error.without_hint().as_str()), expected.lines().next());
    }

    #[test]
    fn an_error_response_is_shown_with_its_hint() {
        let hint = "no proof 7\nhint: list the proofs with `sp1d proofs`";
        check_refused(r#"{"detail": "no proof 7", "hint": "list the proofs with `sp1d proofs`"}"#, hint);
        check_refused(r#"{"detail": "no proof 7"}"#, "no proof 7");
        check_refused(r#"{"detail": "no proof 7", "hint": null}"#, "no proof 7");
        let status = "the service at http://10.0.0.7:8080 responded with 502 Bad Gateway";
        for body in ["", "<html>", "[]", "{}", r#""no proof 7""#] {
            check_refused(body, status);
        }
    }

    #[test]
    fn the_hint_of_an_unreachable_service_is_on_its_own_line() {
        let error = ClientError::Unreachable { url: "http://10.0.0.7:8080".to_owned(), cause: "reset".to_owned() };
        assert_eq!(error.without_hint(), "cannot reach the service at http://10.0.0.7:8080: reset");
        assert!(error.to_string().lines().nth(1).is_some_and(|line| line.starts_with("hint: ")), "{error}");
    }
}
