//! A table of the commitments in the verifying keys of SP1's recursion programs.
//!
//! The recursion programs, and with them the commitments, depend only on the version of SP1. With this table a worker
//! does not have to compute the keys while it starts. Proofs stay sound if an entry is wrong: a proof made with it does
//! not verify against the root of all recursion keys that SP1 publishes.

use slop_algebra::{AbstractField, PrimeField32};
use sp1_primitives::SP1Field;
use sp1_recursion_executor::RecursionProgram;
use sp1d_artifacts::Digest;
use std::sync::Arc;

/// Field elements in a commitment.
const WORDS: usize = 8;

/// Commitments by the digest of the program, as SP1 6.10.0 compiles it. A worker logs the entry of a program that is
/// missing here.
const KNOWN: &[(&str, [u32; WORDS])] = &[
    // Reduce of one proof.
    (
        "863d25536393df3c9792e95fb20c26dab4ec4a3b5663bc777a2d87b1ff96fd4f",
        [1896064259, 1082019706, 1579692782, 120971584, 293576354, 703147827, 153277646, 1980571672],
    ),
    // Reduce of two proofs.
    (
        "23c3376b50fb85b36a13578ee836c578b87f1054fa2d9f98b658c626363cccad",
        [164964804, 908253864, 1247157070, 424191119, 1808597225, 1046786460, 1346510363, 883141932],
    ),
    // Reduce of three proofs.
    (
        "dd3265dfb11548328dc43107061880091cacc9ede15b0316ca0e260ca3bfecb2",
        [753886792, 51197636, 762859805, 511872550, 1500408091, 650981532, 1677109050, 785394050],
    ),
    // Reduce of four proofs.
    (
        "12d2f4acf86022d58f512917852b0002c2071f31b688d7750fcff710e3514217",
        [723419208, 2068501902, 172568827, 776401, 641685144, 901512666, 2036042140, 1002057853],
    ),
    // Deferred.
    (
        "489bb60026243d7b02d6e79c97c5afb2b8e7bbf2f58588331644a3c2f93a7477",
        [1291753091, 851271357, 1597679898, 2005010804, 764335601, 375364245, 261666096, 2039556841],
    ),
    // Shrink.
    (
        "7ea8a4678ec9376084a628d1b7a6f4169eb5170000a3d04a61568601b3a72421",
        [2096271129, 1576796997, 2025581499, 1660872438, 696769177, 927997368, 830298472, 590612091],
    ),
];

/// Returns the commitment in the verifying key of `program`, or `None` if the table does not contain the program.
pub(super) async fn find(program: Arc<RecursionProgram<SP1Field>>) -> Option<[SP1Field; WORDS]> {
    let digest = tokio::task::spawn_blocking(move || digest(&program)).await.ok()?;
    let (_, words) = KNOWN.iter().find(|(known, _)| *known == digest)?;
    Some(words.map(SP1Field::from_canonical_u32))
}

/// Logs the entry that is missing in the table.
pub(super) fn log_unknown(program: &RecursionProgram<SP1Field>, commitment: &[SP1Field; WORDS]) {
    let commitment = commitment.map(|word| word.as_canonical_u32());
    tracing::warn!(program = digest(program), ?commitment, "unknown recursion program, its key was computed at start");
}

fn digest(program: &RecursionProgram<SP1Field>) -> String {
    // A serialized program has 45 to 180 MB. Hashing takes 0.1 s at most.
    Digest::of(&bincode::serialize(program).expect("a program is serializable")).to_string()
}
