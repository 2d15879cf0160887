//! Options that every proof request has.

use sp1_sdk::{SP1ProofMode, StatusCode};

/// SP1's options for a proof, with SP1's defaults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProveOptions {
    pub(crate) mode: SP1ProofMode,
    pub(crate) cycle_limit: Option<u64>,
    /// Only distributed proofs have this limit.
    pub(crate) gas_limit: Option<u64>,
    pub(crate) deferred_proof_verification: bool,
    pub(crate) expected_exit_code: StatusCode,
    pub(crate) nonce: [u32; 4],
}

impl Default for ProveOptions {
    fn default() -> Self {
        Self {
            mode: SP1ProofMode::Core,
            cycle_limit: None,
            gas_limit: None,
            deferred_proof_verification: true,
            expected_exit_code: StatusCode::SUCCESS,
            nonce: [0; 4],
        }
    }
}

/// The option methods of a proof request whose options are in `self.options`.
macro_rules! with_options {
    () => {
        fn mode(mut self, mode: SP1ProofMode) -> Self {
            self.options.mode = mode;
            self
        }

        fn cycle_limit(mut self, cycle_limit: u64) -> Self {
            self.options.cycle_limit = Some(cycle_limit);
            self
        }

        fn deferred_proof_verification(mut self, value: bool) -> Self {
            self.options.deferred_proof_verification = value;
            self
        }

        fn expected_exit_code(mut self, code: StatusCode) -> Self {
            self.options.expected_exit_code = code;
            self
        }

        fn with_proof_nonce(mut self, nonce: [u32; 4]) -> Self {
            self.options.nonce = nonce;
            self
        }
    };
}
pub(crate) use with_options;

/// Applies `options` to one of SP1's own requests. It calls the methods through the trait `ProveRequest` in scope,
/// because some requests have inherent methods of the same names that do more.
macro_rules! apply_options {
    ($request:expr, $options:expr) => {{
        let (request, options) = ($request, $options);
        let request = ProveRequest::mode(request, options.mode);
        let request = ProveRequest::deferred_proof_verification(request, options.deferred_proof_verification);
        let request = ProveRequest::expected_exit_code(request, options.expected_exit_code);
        let request = ProveRequest::with_proof_nonce(request, options.nonce);
        match options.cycle_limit {
            Some(limit) => ProveRequest::cycle_limit(request, limit),
            None => request,
        }
    }};
}
pub(crate) use apply_options;
