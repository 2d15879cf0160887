//! Reads one value more than a careless caller gives it. With too little input a run ends with SP1's exit code 3 (the input is the
//! prover's, so that is no panic of the program).
//!
//! Reads two `u32`; commits their sum, a `u32` that wraps around.

#![no_main]
sp1_zkvm::entrypoint!(main);

pub fn main() {
    let first: u32 = sp1_zkvm::io::read();
    let second: u32 = sp1_zkvm::io::read();
    sp1_zkvm::io::commit(&first.wrapping_add(second));
}
