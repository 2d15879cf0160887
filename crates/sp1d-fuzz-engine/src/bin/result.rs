//! The target `result`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{run, start};
use sp1d_fuzz_engine::RESULT;

libfuzzer_sys::fuzz_target!(init: start(&RESULT), |input: &[u8]| run(&RESULT, input));
