//! The target `cache-file`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{CACHE_FILE, run, start};

libfuzzer_sys::fuzz_target!(init: start(&CACHE_FILE), |input: &[u8]| run(&CACHE_FILE, input));
