//! The interface over HTTP. Every answer that is no success is a problem document, see RFC 9457.

mod health;
mod page;
mod problem;
mod programs;
mod proofs;
mod trace;
mod upload;
mod workers;

use crate::Service;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use problem::Problem;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Instant,
};
use tokio::net::TcpListener;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(
    info(title = "sp1d", description = "Proves SP1 programs on many machines."),
    tags(
        (name = "programs", description = "What can be proven, and on what."),
        (name = "proofs", description = "What was asked for, and what came of it."),
        (name = "workers", description = "Who proves."),
        (name = "service", description = "The service itself.")
    )
)]
struct Document;

fn described() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(programs::list, programs::add))
        .routes(routes!(programs::show))
        .routes(routes!(programs::add_input))
        .routes(routes!(proofs::list, proofs::submit))
        .routes(routes!(proofs::show, proofs::cancel))
        .routes(routes!(proofs::fetch))
        .routes(routes!(proofs::events))
        .routes(routes!(trace::trace))
        .routes(routes!(page::overviews))
        .routes(routes!(workers::list))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::resume))
        .routes(routes!(workers::forget))
        .routes(routes!(health::healthy))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// The interface's description, as OpenAPI 3.1 in JSON.
#[must_use]
pub fn openapi() -> String {
    described().split_for_parts().1.to_pretty_json().expect("a description is serialisable")
}

fn router(service: Service, listens: SocketAddr) -> Router {
    let document = openapi();
    let (router, _) = described().split_for_parts();
    router
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/openapi.json", get(|| async { ([("content-type", "application/json")], document) }))
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "unknown_path", "there is nothing at this path; see /openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "unknown_method",
                "nothing is done here by this method; see /openapi.json",
            )
        })
        // What is taken in is bounded where it is written.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(refuse_other_sites))
        .layer(middleware::from_fn_with_state((service.clone(), listens), refuse_other_hosts))
        .layer(middleware::from_fn_with_state(service.clone(), log))
        .with_state(service)
}

/// A browser that shows somebody else's page sends requests in that page's name, also to the loopback interface. Those
/// that would change something are refused.
async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && is_of_another_site(request.headers()) {
        let text = "the request comes from a page of another site";
        return Problem::new(StatusCode::FORBIDDEN, "other_site", text).into_response();
    }
    next.run(request).await.into_response()
}

/// A page whose name leads to the loopback interface, because somebody has it lead there, is of one site with a service
/// that only this machine should reach. Its name tells.
async fn refuse_other_hosts(
    State((service, listens)): State<(Service, SocketAddr)>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    if listens.ip().is_loopback() && host.is_some_and(|host| !is_this_machine(host, &service.settings().names)) {
        let text = "the service listens for this machine alone, and is asked by a name that it does not know: ask for localhost or 127.0.0.1, or start it with --names NAME for what a proxy passes on";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "other_host", text).into_response();
    }
    next.run(request).await.into_response()
}

/// True for `localhost`, for addresses and for `names`, with or without a port.
fn is_this_machine(host: &str, names: &[String]) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local || names.contains(&name) || address.parse::<IpAddr>().is_ok()
}

/// What a browser says of the page that asks; other clients say nothing.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (header("origin"), header("host")) {
        (None, _) => header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")),
        // An origin may also be "null".
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, origin)| origin != host),
        (Some(_), None) => true,
    }
}

async fn log(State(service): State<Service>, request: Request, next: Next) -> Response {
    let (method, path, began) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await.into_response();
    let status = response.status().as_u16();
    service.metrics().on_answer(known_method(&method), status);
    tracing::debug!(%method, path, status, milliseconds = began.elapsed().as_millis(), "answered");
    response
}

/// A method by which something can be asked; others are all alike.
fn known_method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::DELETE => method.as_str(),
        _ => "other",
    }
}

/// Answers on `listener` until the service stops.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(service: Service, listener: TcpListener) -> io::Result<()> {
    let stop = service.stopping().clone();
    let listens = listener.local_addr()?;
    axum::serve(listener, router(service, listens)).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, expected: bool) {
        assert_eq!(is_this_machine(host, &["prover.example.org".to_owned()]), expected, "{host}");
    }

    #[test]
    fn a_name_that_somebody_has_lead_here_is_not_this_machine() {
        for host in [
            "localhost",
            "localhost:8090",
            "LOCALHOST.",
            "a.localhost:1",
            "127.0.0.1:8090",
            "[::1]:8090",
            "[::1]",
            "Prover.example.org:80",
        ] {
            check(host, true);
        }
        for host in
            ["example.com", "example.com:8090", "localhost.example.com", "127.0.0.1.example.com:80", "", ":8090"]
        {
            check(host, false);
        }
    }
}
