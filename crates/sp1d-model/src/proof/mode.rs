//! The kinds of proofs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProofMode {
    /// One proof per shard. The size grows with the number of shards.
    #[default]
    Core,
    /// One proof of constant size.
    Compressed,
    /// A Groth16 proof, for verification on a blockchain.
    Groth16,
    /// A PLONK proof, for verification on a blockchain.
    Plonk,
}

impl ProofMode {
    /// All modes, in order of declaration.
    pub const ALL: [Self; 4] = [Self::Core, Self::Compressed, Self::Groth16, Self::Plonk];

    /// Returns the stable name, as in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Compressed => "compressed",
            Self::Groth16 => "groth16",
            Self::Plonk => "plonk",
        }
    }
}

impl fmt::Display for ProofMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_the_same_name_in_json() {
        for mode in ProofMode::ALL {
            let json = format!("\"{mode}\"");
            assert_eq!(serde_json::to_string(&mode).unwrap(), json);
            assert_eq!(serde_json::from_str::<ProofMode>(&json).unwrap(), mode);
        }
    }
}
