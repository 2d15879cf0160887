//! Panics, so the run ends with exit code 1.
//!
//! Reads `code_word: u32`, which the message on standard error repeats: it shows that the message came through from this very run.

#![no_main]
sp1_zkvm::entrypoint!(main);

pub fn main() {
    let code_word: u32 = sp1_zkvm::io::read();
    panic!("the guest was asked to panic: {code_word}");
}
