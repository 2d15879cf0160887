//! Serves the interface on a port of its own: the calls over HTTP/2, and the files over HTTP/1.1 or HTTP/2.

use super::{
    interface::HostedInterface, nonces::NonceIssuer, routes::router, signers::HostedSigners, url_permit::UrlPermitKey,
};
use crate::{
    api::server::serve_router,
    queue::{RequestError, Service},
};
use sp1d_identity::{HttpProtocol, for_http_port};
use tokio::net::TcpListener;

/// Configuration of the interface for programs that are built against plain sp1-sdk.
#[derive(Debug, Clone)]
pub struct HostedSettings {
    /// Who may ask for proofs.
    pub signers: HostedSigners,
    /// How clients reach the interface, for example `https://prover.example.org`, if a proxy is in front of it. `None`
    /// for `http://`, or `https://` with TLS, and the address that each client uses.
    pub url: Option<String>,
}

/// Serves programs that are built against plain sp1-sdk (`SP1_PROVER=hosted`) on `listener`, until the service shuts
/// down. Returns when all connections have ended.
///
/// # Errors
/// If the state of the interface cannot be read or stored.
pub async fn serve_hosted(
    service: Service,
    listener: TcpListener,
    settings: HostedSettings,
) -> Result<(), RequestError> {
    let (stop, _delay) = (service.stopping().clone(), service.delay_shutdown());
    let limits = service.settings().http;
    let tls = for_http_port(service.settings().tls.as_ref(), listener.local_addr().ok());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let HostedSettings { signers, url } = settings;
    let key = UrlPermitKey::new(service.secret("hosted").await?);
    let nonces = NonceIssuer::new(service.nonce_floor().await?);
    let url = url.map(|url| url.trim_end_matches('/').to_owned());
    let interface = HostedInterface::new(service, signers, key, nonces, scheme, url);
    serve_router(router(interface), listener, limits, HttpProtocol::OneAndTwo, tls, stop).await;
    Ok(())
}
