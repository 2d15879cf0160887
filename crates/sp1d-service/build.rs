//! Compiles the messages of SP1's prover network.

fn main() -> std::io::Result<()> {
    // Only messages: the calls are routed by hand, so that an unknown call gets a reply with its name.
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .compile_protos(&["proto/network.proto", "proto/artifact.proto"], &["proto"])
}
