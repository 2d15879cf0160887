//! Summaries of programs.

use crate::moment::Moment;
use serde::{Deserialize, Serialize};

/// A program that was uploaded, for which proofs can be requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProgramSummary {
    /// BLAKE3 digest of the program's bytes, in hexadecimal digits.
    pub id: String,
    /// Length of the program in bytes.
    pub bytes: u64,
    /// The key that verifies proofs of the program, in hexadecimal digits. Absent until it is computed, which takes up
    /// to a minute.
    pub verifying_key: Option<String>,
    /// When the program was uploaded.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created: Moment,
}
