//! Runs the unit tests of files in `proof_calls/`. The files are compiled separately here, because unit tests of the
//! whole crate would link SP1's prover a second time.

#[path = "../src/proof_calls/difference.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod difference;

#[path = "../src/proof_calls/recent_words.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod recent_words;

#[path = "../src/proof_calls/search.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod search;
