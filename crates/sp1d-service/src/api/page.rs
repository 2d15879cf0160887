//! The status page: three embedded files and their event stream. The page loads nothing from other servers.

use super::{live::live, problem::Problem, workers};
use crate::{
    queue::{Service, SharedRead},
    state::ProofSelection,
};
use axum::{
    Extension,
    extract::State,
    http::header,
    response::{IntoResponse, Response, sse::Event},
};
use futures::stream;
use serde_json::json;
use sp1d_model::WorkersReport;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Interval at which the event stream checks for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

sp1d_model::limits! {
    /// Number of proofs in an overview: the newest ones.
    const MAX_PROOFS: u32 = 100; Count by Client;
    /// Maximum age of an overview. It is made once for all readers of the page, and not for each of them.
    const MAX_OVERVIEW_AGE: Duration = Duration::from_millis(500); Time by Client;
}

/// The last overview as JSON, shared by all readers of the page.
#[derive(Debug, Clone)]
pub(crate) struct Overviews(Arc<SharedRead<Arc<str>>>);

impl Overviews {
    pub(super) fn new() -> Self {
        Self(Arc::new(SharedRead::new(MAX_OVERVIEW_AGE)))
    }

    async fn current(&self, service: &Service) -> Result<Arc<str>, Problem> {
        // Workers change without a change of a proof, so only the age counts.
        self.0.get(0, overview(service)).await
    }
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
) -> Result<Response, Problem> {
    let first = overviews.current(&service).await?;
    let none: Arc<str> = "".into();
    let state = (service, overviews, Some(first), none);
    let events = stream::unfold(state, |(service, overviews, first, before)| async move {
        let now = match first {
            Some(first) => first,
            None => loop {
                tokio::select! {
                    () = service.stopping().cancelled() => return None,
                    () = sleep(CHECK_INTERVAL) => {}
                }
                // After a database error, try again at the next interval.
                if let Ok(now) = overviews.current(&service).await
                    && now != before
                {
                    break now;
                }
            },
        };
        let event = Event::default().event("overview").data(&now);
        Some((Ok(event), (service, overviews, None, now)))
    });
    Ok(live(events))
}

async fn overview(service: &Service) -> Result<Arc<str>, Problem> {
    let proofs = service.proofs(ProofSelection { limit: MAX_PROOFS, ..ProofSelection::default() }).await?;
    let proofs: Vec<_> = proofs.into_iter().map(|(_, proof)| proof).collect();
    let WorkersReport { workers, list } = workers::report(service);
    let counts = service.counts().await?;
    Ok(json!({ "counts": counts, "proofs": proofs, "workers": workers, "list": list }).to_string().into())
}
