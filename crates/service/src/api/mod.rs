//! The HTTP API. Every error response is a problem document, see RFC 9457.

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
    http::{HeaderMap, Method, StatusCode, Uri},
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
        (name = "programs", description = "Programs and their inputs."),
        (name = "proofs", description = "Proof requests, their progress and their results."),
        (name = "workers", description = "The machines that prove."),
        (name = "service", description = "Health, metrics and events of the service.")
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

/// Returns the description of the HTTP API: an OpenAPI 3.1 document in JSON.
#[must_use]
pub fn openapi() -> String {
    described().split_for_parts().1.to_pretty_json().expect("an OpenAPI document can be serialized")
}

fn router(service: Service, listens: SocketAddr) -> Router {
    let document = openapi();
    let (router, _) = described().split_for_parts();
    router
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/openapi.json", get(|| async { ([("content-type", "application/json")], document) }))
        .fallback(|uri: Uri| async move {
            let text = format!("there is no path {:.80}\nhint: see all paths in `/openapi.json`", uri.path());
            Problem::new(StatusCode::NOT_FOUND, "unknown_path", &text)
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let (method, path) = (method.as_str(), uri.path());
            let text = format!("{path:.80} does not support {method:.20}\nhint: see its methods in `/openapi.json`");
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", &text)
        })
        // Axum's limit of 2 MB is too low for programs and inputs. Each handler limits the bodies that it reads.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(refuse_other_sites))
        .layer(middleware::from_fn_with_state((service.clone(), listens), refuse_other_hosts))
        .layer(middleware::from_fn_with_state(service.clone(), log))
        .with_state(service)
}

/// Refuses requests from web pages of other sites, unless the method changes nothing. Any page in a browser can make
/// the browser send requests, even to a service on the loopback interface (cross-site request forgery).
async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && is_of_another_site(request.headers()) {
        let text = "the request comes from a web page of another site, and such pages may only read\nhint: use the status page of this service, `sp1d`, or an HTTP client outside the browser";
        return Problem::new(StatusCode::FORBIDDEN, "other_site", text).into_response();
    }
    next.run(request).await.into_response()
}

/// Refuses requests for unknown host names if the service listens on a loopback address. An attacker can make their own
/// host name resolve to 127.0.0.1. For a browser, a page from that name and the service then belong to the same site,
/// and only the host name shows the attack (DNS rebinding).
async fn refuse_other_hosts(
    State((service, listens)): State<(Service, SocketAddr)>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    if listens.ip().is_loopback()
        && let Some(host) = host
        && !is_this_machine(host, &service.settings().names)
    {
        let text = format!(
            "the service listens on {}, and does not accept requests for the host {host:.80}\nhint: use localhost or 127.0.0.1, or allow the host name with `--names` of `sp1d serve`",
            listens.ip()
        );
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "other_host", &text).into_response();
    }
    next.run(request).await.into_response()
}

/// Returns true for `localhost` and its subdomains, for IP addresses, and for `names`, all with or without a port.
fn is_this_machine(host: &str, names: &[String]) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local || names.contains(&name) || address.parse::<IpAddr>().is_ok()
}

/// Returns true if the headers show that a page of another site sent the request. Only browsers send these headers; a
/// request without them is allowed.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (header("origin"), header("host")) {
        (None, _) => header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")),
        // Browsers hide some origins and send "null", which does not contain "://" and counts as another site.
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, origin)| origin != host),
        (Some(_), None) => true,
    }
}

async fn log(State(service): State<Service>, request: Request, next: Next) -> Response {
    let (method, path, began) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await.into_response();
    let status = response.status().as_u16();
    service.metrics().on_answer(known_method(&method), status);
    tracing::debug!(%method, path, status, milliseconds = began.elapsed().as_millis(), "request answered");
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

/// Serves the HTTP API and the status page on `listener` until the service shuts down.
///
/// # Errors
/// If the listener fails permanently.
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
    fn only_local_configured_and_ip_hosts_are_this_machine() {
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
