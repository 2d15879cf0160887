//! The target `preamble`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{PREAMBLE, run, start};

libfuzzer_sys::fuzz_target!(init: start(&PREAMBLE), |input: &[u8]| run(&PREAMBLE, input));
