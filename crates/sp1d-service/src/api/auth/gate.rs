//! Refuses requests without the right token.

use super::{
    audit::audit_entry,
    credentials::token_in,
    route_access::{RouteAccess, route_access},
};
use crate::{
    access::{Caller, TokenRole},
    api::problem::Problem,
    queue::{CallerOutcome, ClientNetwork, Service},
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Passes on a request whose caller may make it, with the [`Caller`] as an extension. Refuses all others.
pub(in crate::api) async fn authorize(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let access = route_access(request.method(), request.uri().path());
    let token = token_in(request.headers());
    let outcome = match service.caller(token).await {
        Ok(outcome) => outcome,
        // Such a route works also while the database does not.
        Err(_) if access == RouteAccess::Open => CallerOutcome::Missing,
        Err(error) => return Problem::from(error).into_response(),
    };
    let role = match access {
        RouteAccess::Open => {
            if let Some(caller) = outcome.caller() {
                request.extensions_mut().insert(caller);
            }
            return next.run(request).await;
        }
        RouteAccess::Needs(role) => role,
    };
    let caller = match outcome {
        CallerOutcome::Known { caller, .. } => caller,
        CallerOutcome::Missing => return refusal("token_missing", "this service needs a token"),
        CallerOutcome::Refused => {
            return refusal("token_refused", "the token is not valid: it is unknown, revoked or expired");
        }
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let from = request.extensions().get::<ClientNetwork>().copied();
    let response = if caller.roles.allow(role) {
        request.extensions_mut().insert(caller.clone());
        next.run(request).await
    } else {
        forbidden(&caller, role)
    };
    if let Some(entry) = audit_entry(service.now(), &caller, &method, &path, from, &response) {
        service.record_audit(entry).await;
    }
    response
}

fn refusal(code: &str, text: &str) -> Response {
    let text = format!(
        "{text}\nhint: pass the file with your token with `--token-file`, or log in on the status page\nhint: an operator of the service creates tokens with `sp1d tokens create`"
    );
    Problem::new(StatusCode::UNAUTHORIZED, code, &text).into_response()
}

fn forbidden(caller: &Caller, role: TokenRole) -> Response {
    let (name, roles) = (caller.token.as_deref().unwrap_or_default(), &caller.roles);
    let text = format!(
        "the token {name} has the roles {roles}, and this call needs {role}\nhint: ask an operator of the service for a token with the role {role}"
    );
    Problem::new(StatusCode::FORBIDDEN, "missing_role", &text).into_response()
}
