//! Fibonacci numbers modulo 7919: plain arithmetic, hardly any memory. The length of the run is in the caller's hand (about 14
//! cycles a step), which makes it the program for choosing a number of shards.
//!
//! Reads `n: u32`; commits `n`, then the `n`th and the next number, each a `u32`.

#![no_main]
sp1_zkvm::entrypoint!(main);

/// Keeps the numbers, and their sum, within a `u32`.
const MODULUS: u32 = 7919;

pub fn main() {
    let n: u32 = sp1_zkvm::io::read();

    let (mut a, mut b) = (0_u32, 1_u32);
    for _ in 0..n {
        (a, b) = (b, (a + b) % MODULUS);
    }

    sp1_zkvm::io::commit(&n);
    sp1_zkvm::io::commit(&a);
    sp1_zkvm::io::commit(&b);
}
