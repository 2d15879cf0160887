//! What this build proves with.

use protocol::Build;
use sp1_prover::{SP1_CIRCUIT_VERSION, verify::VerifierRecursionVks};

/// Version of SP1's crates, as Cargo.toml pins it.
const SP1_VERSION: &str = "6.10.0";

/// SP1's features that change what is proven or what verifies, sorted.
fn features() -> Vec<String> {
    let on = [("experimental", cfg!(feature = "experimental")), ("mprotect", cfg!(feature = "mprotect"))];
    on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect()
}

/// The identity that both sides compare at the handshake.
#[must_use]
pub fn build_identity() -> Build {
    let root = VerifierRecursionVks::default().root();
    Build {
        sp1_version: SP1_VERSION.to_owned(),
        circuit_version: SP1_CIRCUIT_VERSION.trim().to_owned(),
        recursion_root: bincode::serialize(&root).expect("a digest is serialisable"),
        features: features(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
