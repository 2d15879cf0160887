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
    state::AuditEntry,
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::runtime::Handle;

/// Records a request whose client leaves before the response: the server then drops its handler, and what the handler
/// has started, for example a change of the database, is completed all the same.
struct PendingRequest {
    service: Service,
    /// `None` once there is a response, and for a request that changes nothing.
    entry: Option<AuditEntry>,
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        let (Some(entry), Ok(runtime)) = (self.entry.take(), Handle::try_current()) else { return };
        let (service, delay) = (self.service.clone(), self.service.delay_shutdown());
        runtime.spawn(async move {
            service.record_audit(entry).await;
            drop(delay);
        });
    }
}

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
    let entry = audit_entry(service.now(), &caller, &method, &path, from, None);
    let mut pending = PendingRequest { service: service.clone(), entry };
    let response = if caller.roles.allow(role) {
        request.extensions_mut().insert(caller.clone());
        next.run(request).await
    } else {
        forbidden(&caller, role)
    };
    pending.entry = None;
    if let Some(entry) = audit_entry(service.now(), &caller, &method, &path, from, Some(&response)) {
        service.record_audit(entry).await;
    }
    response
}

fn refusal(code: &str, text: &str) -> Response {
    let text = format!(
        "{text}\nhint: pass the file with your token with `--token-file`, or log in on the status page\nhint: the administrator of the service's machine creates tokens with `sp1d tokens create`"
    );
    Problem::new(StatusCode::UNAUTHORIZED, code, &text).into_response()
}

fn forbidden(caller: &Caller, role: TokenRole) -> Response {
    let (name, roles) = (caller.token.as_deref().unwrap_or_default(), &caller.roles);
    let text = format!(
        "the token {name} has the roles {roles}, and this call needs {role}\nhint: ask the administrator of the service's machine for a token with the role {role}"
    );
    Problem::new(StatusCode::FORBIDDEN, "missing_role", &text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{NewApiToken, ServiceSettings, TokenStore};
    use axum::{Router, body::Body, http::header::AUTHORIZATION, middleware::from_fn_with_state, routing::delete};
    use serde_json::{Value, json};
    use sp1d_testing::{FakeRunner, fake_build};
    use std::{fs, future::pending, sync::Arc, time::Duration};
    use tokio::sync::Notify;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_request_whose_client_leaves_before_the_response_is_in_the_audit_log() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let mut settings = ServiceSettings::new(state.clone(), orchestrator, "{}".to_owned());
        settings.min_free_bytes = 0;
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let new = NewApiToken {
            name: "ci".parse().unwrap(),
            tenant: "team".parse().unwrap(),
            roles: "submit".parse().unwrap(),
            valid: Duration::from_secs(3600),
        };
        let token = TokenStore::open(&state).unwrap().create(&new).unwrap().to_string();
        let reached = Arc::new(Notify::new());
        let notice = reached.clone();
        let handler = move || async move {
            notice.notify_one();
            pending::<()>().await;
        };
        let router: Router = Router::new()
            .route("/v1/proofs/{id}/data", delete(handler))
            .layer(from_fn_with_state(service.clone(), authorize));
        let request = axum::http::Request::delete("/v1/proofs/one/data")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        // The server drops this future when the client closes its connection.
        let mut call = Box::pin(router.oneshot(request));
        tokio::select! {
            _ = &mut call => panic!("the gate refuses the request"),
            () = reached.notified() => {}
        }
        drop(call);
        service.shutdown().await;
        let content = fs::read_to_string(state.join("audit.log")).unwrap();
        let line: Value = serde_json::from_str(content.lines().last().unwrap()).unwrap();
        let expected = (&json!("ci"), &json!("DELETE"), &json!("/v1/proofs/one/data"));
        assert_eq!((&line["token"], &line["method"], &line["path"]), expected);
        assert_eq!(line.get("status"), None, "there was no response");
    }
}
