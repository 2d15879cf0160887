//! The target `hosted`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{HOSTED, run, start};

libfuzzer_sys::fuzz_target!(init: start(&HOSTED), |input: &[u8]| run(&HOSTED, input));
