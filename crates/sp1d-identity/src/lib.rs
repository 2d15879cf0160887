//! Who a peer is: a private certificate authority, certificates of orchestrators and workers, and TLS with them.
//!
//! ```text
//!   KeyAuthority ──issues──► identity file ──► TlsIdentity ──handshake──► PeerStream with its PeerIdentity
//!                            revocation list ──────┘
//! ```
//!
//! A new machine can fetch its identity file with a token that works once (`enrollment`).
//!
//! A certificate names its peer with one URI: `sp1d:worker:NAME` or `sp1d:orchestrator:NAME`. A group follows the name:
//! `sp1d:worker:NAME:GROUP`. A trusted worker has `sp1d:worker:NAME:GROUP:trusted`, or `sp1d:worker:NAME::trusted`.
//! Orchestrators accept only workers, and workers only orchestrators. All connections use TLS 1.3 with the provider
//! ring, and never resume an earlier session: a resumed session would not check the certificate again.
//!
//! HTTPS ports show their clients the certificate of the process, or another one (`https`), for example of a public
//! authority. Clients of HTTPS show no certificate.
//!
//! This crate does not know what a connection transfers, or what an identity permits.

mod authority;
mod changed_files;
mod enrollment;
mod error;
mod files;
mod http;
mod https;
mod load;
mod peer;
mod pem_problem;
mod port_certificate;
mod revocation;
mod stream;
mod tls;
mod verifier;

pub use authority::{Issuance, KeyAuthority};
pub use enrollment::{EnrolledMachine, Enrollment, JoinToken, JoinTokenError, MAX_ENROLLMENT_LOG_RATE, fetch_identity};
pub use error::{KeysError, TlsError};
pub use http::HttpProtocol;
pub use https::{HttpsCertificate, HttpsIdentity};
pub use peer::{PeerIdentity, PeerName, PeerNameError, PeerRole, PeerRoleError};
pub use revocation::revoke;
pub use stream::PeerStream;
pub use tls::{TlsIdentity, accept_peer, connect_peer, for_http_port};

/// Returns the limits that the other side of a connection can reach.
pub fn limits() -> impl Iterator<Item = &'static sp1d_model::Limit> {
    [tls::LIMITS, peer::LIMITS, enrollment::LIMITS].into_iter().flatten()
}
