//! The routes of the HTTP API.

use super::{
    auth::{
        authorize,
        login::{self, HttpsPort},
    },
    body::PacedBody,
    browser_guard::{refuse_other_hosts, refuse_other_sites},
    event_stream, health, page,
    problem::Problem,
    programs, proofs, tasks, trace, workers,
};
use crate::queue::Service;
use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{net::SocketAddr, time::Instant};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(
    info(title = "sp1d", description = "Proves SP1 programs on many machines."),
    tags(
        (name = "programs", description = "Programs and their inputs."),
        (name = "proofs", description = "Proof requests, their progress and their results."),
        (name = "workers", description = "The machines that prove."),
        (name = "service", description = "Health, metrics and events of the service.")
    )
)]
struct ApiDocument;

fn documented_routes() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .routes(routes!(programs::list, programs::add))
        .routes(routes!(programs::show))
        .routes(routes!(programs::add_input))
        .routes(routes!(proofs::list, proofs::submit))
        .routes(routes!(proofs::show, proofs::cancel))
        .routes(routes!(proofs::delete))
        .routes(routes!(proofs::fetch))
        .routes(routes!(tasks::open_tasks))
        .routes(routes!(event_stream::events))
        .routes(routes!(trace::trace))
        .routes(routes!(page::overviews))
        .routes(routes!(workers::list))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::resume))
        .routes(routes!(workers::forget))
        .routes(routes!(login::current_login))
        .routes(routes!(login::login))
        .routes(routes!(login::logout))
        .routes(routes!(health::healthy))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Returns the description of the HTTP API: an OpenAPI 3.1 document in JSON.
#[must_use]
pub fn openapi() -> String {
    documented_routes().split_for_parts().1.to_pretty_json().expect("an OpenAPI document can be serialized")
}

/// Returns the routes of `service`, which listens on the address `listens`. Requests need an extension that says from
/// which network their client comes.
pub(super) fn router(service: Service, listens: SocketAddr) -> Router {
    let document = openapi();
    // The loopback interface has no HTTPS.
    let is_https = service.settings().tls.is_some() && !listens.ip().is_loopback();
    let (router, _) = documented_routes().split_for_parts();
    router
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/openapi.json", get(|| async { ([("content-type", "application/json")], document) }))
        .fallback(|uri: Uri| async move {
            let text = format!("the service has no path {:.80}\nhint: see all paths in `/openapi.json`", uri.path());
            Problem::new(StatusCode::NOT_FOUND, "unknown_path", &text)
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let (method, path) = (method.as_str(), uri.path());
            let text = format!("{path:.80} does not support {method:.20}\nhint: see its methods in `/openapi.json`");
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", &text)
        })
        // Axum's limit of 2 MB is too low for programs and inputs. Each handler limits the bodies that it reads.
        .layer(DefaultBodyLimit::disable())
        .layer(Extension(page::Overviews::default()))
        .layer(Extension(HttpsPort(is_https)))
        .layer(middleware::from_fn_with_state(service.clone(), authorize))
        .layer(middleware::from_fn_with_state(service.clone(), pace))
        .layer(middleware::from_fn(refuse_other_sites))
        .layer(middleware::from_fn_with_state((service.clone(), listens), refuse_other_hosts))
        .layer(middleware::from_fn_with_state(service.clone(), log))
        .with_state(service)
}

/// Bounds the time in which the body of a request arrives.
async fn pace(State(service): State<Service>, request: Request, next: Next) -> Response {
    next.run(request.map(|body| PacedBody::limit(body, &service.settings().http))).await
}

async fn log(State(service): State<Service>, request: Request, next: Next) -> Response {
    let (method, path, started) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await.into_response();
    let status = response.status().as_u16();
    service.metrics().on_response(known_method(&method), status);
    tracing::debug!(%method, path, status, milliseconds = started.elapsed().as_millis(), "response sent");
    response
}

/// Returns the method as a metrics label. All methods that the API does not use have the label `other`, so that clients
/// cannot create labels.
fn known_method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::DELETE => method.as_str(),
        _ => "other",
    }
}
