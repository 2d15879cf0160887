//! The target `session`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{SESSION, run, start};

libfuzzer_sys::fuzz_target!(init: start(&SESSION), |input: &[u8]| run(&SESSION, input));
