//! What `sp1d verify` prints.

use crate::{
    command::public_values::{hexadecimal, shown},
    terminal::print,
};
use anyhow::Result;
use serde_json::json;
use sp1d_model::ProofMode;

/// A proof that verifies.
#[derive(Debug)]
pub(in crate::command) struct VerifiedProof {
    pub(in crate::command) mode: ProofMode,
    /// Hash of the verifying key.
    pub(in crate::command) program_key: String,
    /// Version of SP1's circuits.
    pub(in crate::command) sp1_version: String,
    pub(in crate::command) public_values: Vec<u8>,
}

impl VerifiedProof {
    pub(super) fn print(&self, as_json: bool) -> Result<()> {
        let Self { mode, program_key, sp1_version, public_values } = self;
        if as_json {
            let public_values = hexadecimal(public_values);
            let proof = json!({
                "valid": true,
                "mode": mode,
                "program_key": program_key,
                "sp1_version": sp1_version,
                "public_values": public_values,
            });
            return print(&proof.to_string());
        }
        print("the proof verifies")?;
        print(&format!("mode:          {mode}"))?;
        print(&format!("program key:   {program_key}"))?;
        print(&format!("SP1 circuits:  {sp1_version}"))?;
        print(&format!("public values: {}", shown(public_values)))
    }
}

/// Prints that a proof does not verify, for programs that read only stdout.
pub(super) fn print_invalid(reason: &str) -> Result<()> {
    print(&json!({ "valid": false, "reason": reason }).to_string())
}
