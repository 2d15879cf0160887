//! The status page: three embedded files and their event stream. The page loads nothing from other servers.

use super::{
    auth::{CurrentCaller, token_in, until_refused},
    live::live,
    problem::Problem,
    workers,
};
use crate::{
    access::TenantScope,
    queue::{Service, SharedRead},
    state::ProofSelection,
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response, sse::Event},
};
use futures::stream;
use serde_json::json;
use sp1d_model::WorkersReport;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// Interval at which the event stream checks for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

sp1d_model::limits! {
    /// Number of proofs in an overview: the newest ones.
    const MAX_PROOFS: u32 = 100; Count by Client;
    /// Maximum number of overviews: one for each tenant whose users look at the page.
    const MAX_OVERVIEWS: usize = 1000; Count by Client;
    /// Maximum age of an overview. It is made once for all readers of the page, and not for each of them.
    const MAX_OVERVIEW_AGE: Duration = Duration::from_millis(500); Time by Client;
}

/// An overview as JSON, shared by all readers of the page who see the same proofs.
type SharedOverview = Arc<SharedRead<Arc<str>>>;

/// The last overviews.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overviews(Arc<Mutex<BTreeMap<TenantScope, SharedOverview>>>);

impl Overviews {
    /// Returns the overview of the proofs in `scope`.
    fn of(&self, scope: &TenantScope) -> SharedOverview {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(scope) {
            return found.clone();
        }
        if known.len() >= MAX_OVERVIEWS {
            // Present readers keep their overview. A later reader of the tenant gets a new one.
            known.clear();
        }
        known.entry(scope.clone()).or_insert_with(|| Arc::new(SharedRead::new(MAX_OVERVIEW_AGE))).clone()
    }
}

/// Returns the current content of an overview of the proofs in `scope`.
async fn current(shared: &SharedOverview, service: &Service, scope: &TenantScope) -> Result<Arc<str>, Problem> {
    // Workers change without a change of a proof, so only the age counts.
    shared.get(0, overview(service, scope)).await
}

/// Content security policy: the page may load only files of this service, and images from `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content).into_response()
}

pub(crate) async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("../page/index.html"))
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("../page/page.css"))
}

pub(crate) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("../page/page.js"))
}

/// Streams overviews of the service as server-sent events named `overview`: the first one at once, and a new one within
/// about a second of each change.
#[utoipa::path(
    get,
    operation_id = "follow_service",
    path = "/v1/events",
    tag = "service",
    responses((status = 200, description = "The number of proofs in each state, the newest 100 proofs, the workers, and the outcome of the last read of the worker list.", body = Object, content_type = "text/event-stream"))
)]
pub(crate) async fn overviews(
    State(service): State<Service>,
    Extension(overviews): Extension<Overviews>,
    CurrentCaller(caller): CurrentCaller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = caller.scope();
    let shared = overviews.of(&scope);
    let first = current(&shared, &service, &scope).await?;
    let ended = until_refused(service.clone(), token_in(&headers));
    let none: Arc<str> = "".into();
    let state = (service, shared, scope, Some(first), none);
    let events = stream::unfold(state, |(service, shared, scope, first, before)| async move {
        let now = match first {
            Some(first) => first,
            None => loop {
                tokio::select! {
                    () = service.stopping().cancelled() => return None,
                    () = sleep(CHECK_INTERVAL) => {}
                }
                // After a database error, try again at the next interval.
                if let Ok(now) = current(&shared, &service, &scope).await
                    && now != before
                {
                    break now;
                }
            },
        };
        let event = Event::default().event("overview").data(&now);
        Some((Ok::<_, Infallible>(event), (service, shared, scope, None, now)))
    });
    Ok(live(events, ended))
}

async fn overview(service: &Service, scope: &TenantScope) -> Result<Arc<str>, Problem> {
    let proofs =
        service.proofs(scope.clone(), ProofSelection { limit: MAX_PROOFS, ..ProofSelection::default() }).await?;
    let proofs: Vec<_> = proofs.into_iter().map(|(_, proof)| proof).collect();
    let WorkersReport { workers, list } = workers::report(service);
    let counts = service.counts_in(scope.clone()).await?;
    Ok(json!({ "counts": counts, "proofs": proofs, "workers": workers, "list": list }).to_string().into())
}

#[cfg(test)]
mod tests {
    use sp1d_model::MIN_PROVEN_TASKS;

    #[test]
    fn the_status_page_waits_for_the_same_number_of_tasks() {
        let script = include_str!("../page/page.js");
        assert!(script.contains(&format!("const MIN_PROVEN_TASKS = {MIN_PROVEN_TASKS};")));
    }
}
