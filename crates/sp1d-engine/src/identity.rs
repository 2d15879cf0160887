//! Identifies the SP1 build that this program proves with.

use sp1_prover::{SP1_CIRCUIT_VERSION, verify::VerifierRecursionVks};
use sp1d_protocol::Build;

/// Version of the SP1 crates, as pinned in Cargo.toml.
const SP1_VERSION: &str = "6.10.0";

/// Returns the enabled SP1 features that change what is proven or what verifies, sorted by name.
fn features() -> Vec<String> {
    let on = [("experimental", cfg!(feature = "experimental")), ("mprotect", cfg!(feature = "mprotect"))];
    on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect()
}

/// Returns the build identity. Orchestrator and worker compare their identities in the handshake.
#[must_use]
pub fn build_identity() -> Build {
    let root = VerifierRecursionVks::default().root();
    Build {
        sp1_version: SP1_VERSION.to_owned(),
        circuit_version: SP1_CIRCUIT_VERSION.trim().to_owned(),
        recursion_root: bincode::serialize(&root).expect("a digest is serializable"),
        features: features(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
