//! Which role a call needs.

use crate::access::TokenRole;
use axum::http::Method;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteAccess {
    /// Nothing: the call shows nothing of tenants.
    Open,
    /// A token with this role.
    Needs(TokenRole),
}

/// Returns what the call of `method` for `path` needs. A call that is not listed here needs the role `admin`, so that a
/// new route is closed until it has its place.
pub(super) fn route_access(method: &Method, path: &str) -> RouteAccess {
    use RouteAccess::{Needs, Open};
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match parts[..] {
        ["" | "page.css" | "page.js" | "openapi.json" | "healthz" | "readyz"] if is_read => Open,
        ["v1", "logout"] if *method == Method::POST => Open,
        ["v1", "login"] if *method == Method::POST => Needs(TokenRole::Read),
        ["metrics"] | ["v1", "session" | "events" | "workers" | "programs" | "proofs"] if is_read => {
            Needs(TokenRole::Read)
        }
        ["v1", "programs" | "proofs", _] if is_read => Needs(TokenRole::Read),
        ["v1", "proofs", _, "proof" | "events" | "tasks" | "trace"] if is_read => Needs(TokenRole::Read),
        ["v1", "programs" | "inputs" | "proofs"] if *method == Method::POST => Needs(TokenRole::Submit),
        ["v1", "proofs", _] | ["v1", "proofs", _, "data"] if *method == Method::DELETE => Needs(TokenRole::Submit),
        ["v1", "workers", _, "drain" | "resume"] if *method == Method::POST => Needs(TokenRole::Operate),
        ["v1", "workers", _] if *method == Method::DELETE => Needs(TokenRole::Operate),
        _ => Needs(TokenRole::Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, expected: RouteAccess) {
        assert_eq!(route_access(&method, path), expected, "{method} {path}");
    }

    #[test]
    fn a_call_that_is_not_listed_needs_an_administrator() {
        let admin = RouteAccess::Needs(TokenRole::Admin);
        for path in ["/v1", "/v1/", "/v2/proofs", "/v1/pro%6ffs", "//v1/proofs", "/v1/tokens", "", "*"] {
            check(Method::GET, path, admin);
        }
        check(Method::POST, "/", admin);
        check(Method::PUT, "/v1/proofs", admin);
        check(Method::DELETE, "/v1/programs/1", admin);
        check(Method::OPTIONS, "/healthz", admin);
    }

    #[test]
    fn each_role_has_its_calls() {
        let needs = RouteAccess::Needs;
        check(Method::GET, "/", RouteAccess::Open);
        check(Method::HEAD, "/healthz", RouteAccess::Open);
        check(Method::GET, "/metrics", needs(TokenRole::Read));
        check(Method::HEAD, "/v1/proofs/1/proof", needs(TokenRole::Read));
        check(Method::POST, "/v1/proofs", needs(TokenRole::Submit));
        check(Method::DELETE, "/v1/proofs/1", needs(TokenRole::Submit));
        check(Method::DELETE, "/v1/proofs/1/data", needs(TokenRole::Submit));
        check(Method::POST, "/v1/workers/w/drain", needs(TokenRole::Operate));
        check(Method::DELETE, "/v1/workers/w", needs(TokenRole::Operate));
    }
}
