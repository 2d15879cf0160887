//! The example programs, compiled against sp1-sdk instead of `sp1-distributed`. A library, so that SP1's prover is not
//! compiled once more: that they compile is all that is asked.

#[allow(dead_code, reason = "nobody runs it here")]
#[path = "../../fibonacci/src/main.rs"]
mod program;

#[allow(dead_code, reason = "nobody runs it here")]
#[path = "../../fibonacci/src/bin/blocking.rs"]
mod blocking;
