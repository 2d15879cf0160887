//! The messages on the wire.

/// Messages of the prover network.
#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
pub(super) mod network {
    tonic::include_proto!("network");
}

/// Messages of the artifact store.
#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
pub(super) mod artifact {
    tonic::include_proto!("artifact");
}
