//! Error responses: problem documents, see RFC 9457.

use crate::queue::RequestError;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sp1d_model::hint;
use utoipa::ToSchema;

/// An error response: a problem document, see RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// HTTP status of the response.
    status: u16,
    /// HTTP status in words.
    title: String,
    /// Identifier of the error, for programs. It never changes.
    code: String,
    /// Explanation of the error, for people.
    detail: String,
    /// The next step for the user. Absent if the error has no next step. Each further step is on a line that starts
    /// with `hint: `.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Problem {
    /// Returns a problem with the explanation in `text`, which may end with lines that start with `hint: `.
    pub(crate) fn new(status: StatusCode, code: &str, text: &str) -> Self {
        let (detail, hint) = hint::split(text);
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            hint: hint.map(ToOwned::to_owned),
        }
    }

    /// Returns the HTTP status of the response.
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn malformed(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", text)
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let (status, code) = match &error {
            RequestError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown"),
            RequestError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            RequestError::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
            RequestError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            RequestError::QueueFull(_) => (StatusCode::TOO_MANY_REQUESTS, "queue_full"),
            RequestError::Quota(_) => (StatusCode::TOO_MANY_REQUESTS, "quota"),
            RequestError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            RequestError::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            RequestError::Locked => (StatusCode::SERVICE_UNAVAILABLE, "database_locked"),
            RequestError::Internal(text) => {
                tracing::error!(text = %hint::without(text), "request failed: internal error");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        };
        Self::new(status, code, &error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem can be serialized");
        let mut response = (status, body).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            // In seconds. Proofs take minutes, so a client that retries after 10 s loses little time.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(text: &str, expected: &Value) {
        let problem = Problem::new(StatusCode::CONFLICT, "conflict", text);
        let mut shown = serde_json::to_value(problem).unwrap();
        let members = shown.as_object_mut().unwrap();
        members.retain(|name, _| !matches!(name.as_str(), "status" | "title" | "code"));
        assert_eq!(shown, *expected);
    }

    #[test]
    fn hint_is_a_member_of_its_own() {
        check("it failed", &json!({ "detail": "it failed" }));
        check("it failed\nhint: try again", &json!({ "detail": "it failed", "hint": "try again" }));
    }
}
