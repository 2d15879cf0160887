//! Refuses requests that web pages of other sites make a browser send.

use super::problem::Problem;
use crate::queue::Service;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::net::{IpAddr, SocketAddr};

/// Refuses requests from web pages of other sites, unless the method changes nothing. Any page in a browser can make
/// the browser send requests, even to a service on the loopback interface (cross-site request forgery).
pub(super) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && is_of_another_site(request.headers()) {
        let text = "the request comes from a web page of another site, and such pages may only read\nhint: use the status page of this service, `sp1d`, or an HTTP client outside the browser; a proxy without HTTPS must pass on the header `Host`";
        return Problem::new(StatusCode::FORBIDDEN, "other_site", text).into_response();
    }
    next.run(request).await.into_response()
}

/// Refuses requests for unknown host names if the service listens on a loopback address. An attacker can make their own
/// host name resolve to 127.0.0.1. For a browser, a page from that name and the service then belong to the same site,
/// and only the host name shows the attack (DNS rebinding).
pub(super) async fn refuse_other_hosts(
    State((service, listens)): State<(Service, SocketAddr)>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    if listens.ip().is_loopback()
        && let Some(host) = host
        && !is_this_machine(host, &service.settings().allowed_hosts)
    {
        let text = format!(
            "the service listens on {}, and does not accept requests for the host {host:.80}\nhint: use localhost or 127.0.0.1, or allow the host name with `--allowed-hosts` of `sp1d serve`",
            listens.ip()
        );
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "other_host", &text).into_response();
    }
    next.run(request).await.into_response()
}

/// Returns true for `localhost` and its subdomains, for IP addresses, and for the hosts in `allowed`, all with or
/// without a port.
fn is_this_machine(host: &str, allowed: &[String]) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local || allowed.contains(&name) || address.parse::<IpAddr>().is_ok()
}

/// Returns true if the headers show that a page of another site sent the request. Only browsers send these headers; a
/// request without them is allowed.
///
/// Browsers send `Sec-Fetch-Site` to HTTPS servers and to this machine, and no page can change it. It is right also
/// behind a proxy that replaces the header `Host`. Elsewhere, the origin of the page must be this host.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = header("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (header("origin"), header("host")) {
        (None, _) => false,
        // Browsers hide some origins and send "null", which does not contain "://" and counts as another site.
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, origin)| origin != host),
        (Some(_), None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

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

    /// Checks whether a request with these headers comes from a page of another site.
    #[track_caller]
    fn check_site(headers: &[(&'static str, &'static str)], expected: bool) {
        let map = headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert_eq!(is_of_another_site(&map.collect()), expected, "{headers:?}");
    }

    #[test]
    fn only_pages_of_this_site_may_change_something() {
        check_site(&[], false);
        check_site(&[("host", "10.0.0.7:8090"), ("origin", "http://10.0.0.7:8090")], false);
        check_site(&[("host", "10.0.0.7:8090"), ("origin", "http://elsewhere.example")], true);
        check_site(&[("host", "10.0.0.7:8090"), ("origin", "null")], true);
        check_site(&[("origin", "http://10.0.0.7:8090")], true);
        for (site, expected) in [("same-origin", false), ("none", false), ("same-site", true), ("cross-site", true)] {
            check_site(&[("sec-fetch-site", site)], expected);
            // A proxy has replaced the host.
            let host = ("host", "127.0.0.1:8090");
            check_site(&[host, ("origin", "https://proofs.example.com"), ("sec-fetch-site", site)], expected);
        }
    }
}
