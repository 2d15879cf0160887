//! Whether proofs are shown with their tenants.

use sp1d_client::ProofSummary;

/// Returns true if the proofs belong to several tenants. Only an administrator of a service with tokens sees several.
pub(in crate::command) fn have_several_tenants(proofs: &[ProofSummary]) -> bool {
    proofs.windows(2).any(|pair| pair[0].tenant != pair[1].tenant)
}
