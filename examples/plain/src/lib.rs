//! The example programs, compiled against sp1-sdk instead of `sp1-distributed`. The only check is that they compile.
//! This is a library so that SP1's prover is not compiled a second time.

#[allow(dead_code, reason = "the program is only compiled here")]
#[path = "../../fibonacci/src/main.rs"]
mod program;

#[allow(dead_code, reason = "the program is only compiled here")]
#[path = "../../fibonacci/src/bin/blocking.rs"]
mod blocking;
