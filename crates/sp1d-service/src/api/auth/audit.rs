//! Which requests the audit log contains.

use crate::{access::Caller, queue::ClientNetwork, state::AuditEntry};
use axum::{
    http::{Method, StatusCode},
    response::Response,
};
use sp1d_model::Moment;

/// The proof, program or input that a request has made, as an extension of its response.
#[derive(Debug, Clone)]
pub(crate) struct AuditedObject(pub(in crate::api) String);

/// Returns the entry for a request that changes something, or that was refused because of its role. Without a
/// `response`, the client has left before it. Requests without a valid token have no entry: anyone could fill the log
/// with them.
pub(super) fn audit_entry(
    at: Moment,
    caller: &Caller,
    method: &Method,
    path: &str,
    from: Option<ClientNetwork>,
    response: Option<&Response>,
) -> Option<AuditEntry> {
    let status = response.map(Response::status);
    if method.is_safe() && status != Some(StatusCode::FORBIDDEN) {
        return None;
    }
    Some(AuditEntry {
        at,
        token: caller.token.clone()?,
        tenant: caller.tenant.to_string(),
        from: from.map(|from| from.to_string()),
        method: method.to_string(),
        path: path.to_owned(),
        object: response
            .and_then(|found| found.extensions().get::<AuditedObject>())
            .map(|AuditedObject(id)| id.clone()),
        status: status.map(|status| status.as_u16()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    /// Checks whether the request of a caller with the token `token` has an entry.
    #[track_caller]
    fn check(token: Option<&str>, method: Method, status: StatusCode, expected: bool) {
        let caller = Caller { token: token.map(ToOwned::to_owned), ..Caller::of_open_service() };
        let response = status.into_response();
        let entry = audit_entry(Moment(0), &caller, &method, "/v1/proofs", None, Some(&response));
        assert_eq!(entry.is_some(), expected, "{token:?} {method} {status}");
    }

    #[test]
    fn changes_and_missing_roles_are_recorded() {
        check(Some("one"), Method::POST, StatusCode::CREATED, true);
        check(Some("one"), Method::DELETE, StatusCode::NOT_FOUND, true);
        check(Some("one"), Method::GET, StatusCode::OK, false);
        check(Some("one"), Method::GET, StatusCode::FORBIDDEN, true);
        check(None, Method::POST, StatusCode::CREATED, false);
    }
}
