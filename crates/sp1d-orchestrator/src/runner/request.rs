//! What a user asks for, and what they get.

use bytes::Bytes;
use sp1d_model::ProofMode;
use std::time::Duration;

/// A request for one proof.
#[derive(Debug, Clone)]
pub struct ProofRequest {
    /// The program.
    pub elf: Bytes,
    /// Its input, in the runner's serialization.
    pub stdin: Bytes,
    /// Kind of the proof.
    pub mode: ProofMode,
    /// Number of cycles after which the program is stopped; `None` for no limit.
    pub cycle_limit: Option<u64>,
    /// Gas that the program may use; `None` for no limit. A proof with a limit takes longer: the runner counts the gas
    /// before it starts to prove.
    pub gas_limit: Option<u64>,
    /// How the program must end.
    pub expected_exit: ExpectedExit,
    /// Whether to verify the proofs in the input before proving starts, unless they are known to be valid.
    pub check_input_proofs: bool,
    /// Whether only trusted workers may get tasks of the proof. The input may be secret.
    pub trusted_only: bool,
    /// Nonce to which the proof commits.
    pub nonce: [u32; 4],
    /// Options that decide how the run is cut into shards, in the runner's serialization. Each task carries them to
    /// its worker.
    pub options: String,
    /// Maximum duration of the whole proof; `None` for no limit.
    pub timeout: Option<Duration>,
    /// Whose results this proof may take from the result cache: only those of proofs with the same scope. Empty for the
    /// common scope.
    pub cache_scope: String,
    /// The group with which the proof shares the workers. Groups share them evenly, and the proofs of a group share
    /// those of their group. 0 is the common group.
    pub share_group: u64,
    /// Name of the proof in logs. Only the first 64 ASCII letters and digits are used. Without any, logs use the number
    /// of the try, which changes when the proof restarts.
    pub label: String,
}

impl ProofRequest {
    /// Returns the request for a core proof without limits of cycles, gas and time. The program must end with exit
    /// code 0, and the nonce is zero.
    #[must_use]
    pub fn core(elf: Bytes, stdin: Bytes, options: String) -> Self {
        Self {
            elf,
            stdin,
            mode: ProofMode::Core,
            cycle_limit: None,
            gas_limit: None,
            expected_exit: ExpectedExit::Success,
            check_input_proofs: true,
            trusted_only: false,
            nonce: [0; 4],
            options,
            timeout: None,
            cache_scope: String::new(),
            share_group: 0,
            label: String::new(),
        }
    }

    /// Returns the gas limit if it can stop a program. As in SP1's prover network, 0 is not a limit, and neither are
    /// numbers from 2^63, which no program reaches.
    #[must_use]
    pub fn finite_gas_limit(&self) -> Option<u64> {
        self.gas_limit.filter(|limit| *limit > 0 && i64::try_from(*limit).is_ok())
    }
}

/// The exit code with which a program must end for its proof to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectedExit {
    /// Code 0.
    #[default]
    Success,
    /// This code.
    Code(u32),
    /// Any code.
    Any,
}

impl ExpectedExit {
    /// Returns true if `code` is one of the expected codes.
    #[must_use]
    pub fn accepts(self, code: u32) -> bool {
        match self {
            Self::Success => code == 0,
            Self::Code(expected) => code == expected,
            Self::Any => true,
        }
    }
}

/// How a run is cut into shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The options, in the runner's serialization.
    pub options: String,
    /// The setting as users write it, for example `ELEMENT_THRESHOLD=130023424`.
    pub setting: String,
}

/// The outcome of a successful proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofOutput {
    /// The proof, in the runner's serialization.
    pub proof: Vec<u8>,
    /// Number of cycles that the program ran.
    pub cycles: u64,
    /// Gas that the program used. `None` if it was not counted, because the request has no gas limit.
    pub gas: Option<u64>,
    /// The public values that the program committed. Empty if the runner does not know them.
    pub public_values: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_that_a_program_can_reach_count() {
        let request = ProofRequest::core(Bytes::new(), Bytes::new(), String::new());
        for (gas_limit, expected) in [
            (None, None),
            (Some(0), None),
            (Some(1), Some(1)),
            (Some((1 << 63) - 1), Some((1 << 63) - 1)),
            (Some(1 << 63), None),
            (Some(u64::MAX), None),
        ] {
            let request = ProofRequest { gas_limit, ..request.clone() };
            assert_eq!(request.finite_gas_limit(), expected, "{gas_limit:?}");
        }
    }
}
