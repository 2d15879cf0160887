//! The target `elf`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{run, start};
use sp1d_fuzz_engine::ELF;

libfuzzer_sys::fuzz_target!(init: start(&ELF), |input: &[u8]| run(&ELF, input));
