//! The target `form`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{FORM, run, start};

libfuzzer_sys::fuzz_target!(init: start(&FORM), |input: &[u8]| run(&FORM, input));
