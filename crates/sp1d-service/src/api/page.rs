//! The status page: three embedded files and their event stream. The page loads nothing from other servers.

use super::{problem::Problem, workers};
use crate::{queue::Service, state::ProofSelection};
use axum::{
    extract::State,
    http::header,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use serde_json::{Value, json};
use sp1d_model::WorkersReport;
use std::{convert::Infallible, time::Duration};
use tokio::time::sleep;

/// Interval at which the event stream checks for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Number of proofs in an overview: the newest ones.
const MAX_PROOFS: u32 = 100;

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
    path = "/v1/events",
    tag = "service",
    responses((status = 200, description = "The number of proofs in each state, the newest 100 proofs, the workers, and the outcome of the last read of the worker list.", body = Object, content_type = "text/event-stream"))
)]
pub(crate) async fn overviews(
    State(service): State<Service>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let first = overview(&service).await?;
    let overviews = stream::unfold((service, Some(first), Value::Null), |(service, first, before)| async move {
        let now = match first {
            Some(first) => first,
            None => loop {
                tokio::select! {
                    () = service.stopping().cancelled() => return None,
                    () = sleep(CHECK_INTERVAL) => {}
                }
                // After a database error, try again at the next interval.
                if let Ok(now) = overview(&service).await
                    && now != before
                {
                    break now;
                }
            },
        };
        let event = Event::default().event("overview").json_data(&now).expect("an overview can be serialized");
        Some((Ok(event), (service, None, now)))
    });
    Ok(Sse::new(overviews).keep_alive(KeepAlive::default()))
}

async fn overview(service: &Service) -> Result<Value, Problem> {
    let proofs = service.proofs(ProofSelection { limit: MAX_PROOFS, ..ProofSelection::default() }).await?;
    let proofs: Vec<_> = proofs.into_iter().map(|(_, proof)| proof).collect();
    let WorkersReport { workers, list } = workers::report(service);
    Ok(json!({ "counts": service.counts().await?, "proofs": proofs, "workers": workers, "list": list }))
}
