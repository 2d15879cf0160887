//! Compiles the wire messages.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure().bytes(".").compile_protos(&["proto/session.proto", "proto/prover.proto"], &["proto"])
}
