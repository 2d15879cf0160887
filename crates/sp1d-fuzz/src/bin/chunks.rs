//! The target `chunks`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{CHUNKS, run, start};

libfuzzer_sys::fuzz_target!(init: start(&CHUNKS), |input: &[u8]| run(&CHUNKS, input));
