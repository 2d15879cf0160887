//! The configurations of HTTPS ports. Their clients show no certificate.

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::NoServerSessionStorage,
    version::TLS13,
};
use std::sync::Arc;

/// Which protocols an HTTPS port offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpProtocol {
    /// HTTP/1.1.
    One,
    /// HTTP/2, or HTTP/1.1.
    OneAndTwo,
}

/// The configurations of one certificate, for each [`HttpProtocol`].
#[derive(Debug)]
pub(crate) struct HttpConfigs {
    one: Arc<ServerConfig>,
    one_and_two: Arc<ServerConfig>,
}

impl HttpConfigs {
    /// Fails if the key cannot be used, or does not belong to the first certificate of `chain`.
    pub(crate) fn new(
        provider: &Arc<CryptoProvider>,
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let config = |protocols: &[&str]| -> Result<_, rustls::Error> {
            let mut config = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&TLS13])?
                .with_no_client_auth()
                .with_single_cert(chain.to_vec(), key.clone_key())?;
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            Ok(Arc::new(without_resumption(config)))
        };
        Ok(Self { one: config(&["http/1.1"])?, one_and_two: config(&["h2", "http/1.1"])? })
    }

    /// Returns the configuration that offers `protocol`.
    pub(crate) fn get(&self, protocol: HttpProtocol) -> &Arc<ServerConfig> {
        match protocol {
            HttpProtocol::One => &self.one,
            HttpProtocol::OneAndTwo => &self.one_and_two,
        }
    }
}

/// A resumed session would not check the certificate again, so a revoked peer could return.
pub(crate) fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}
