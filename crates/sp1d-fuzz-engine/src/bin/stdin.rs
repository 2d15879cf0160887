//! The target `stdin`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{run, start};
use sp1d_fuzz_engine::STDIN;

libfuzzer_sys::fuzz_target!(init: start(&STDIN), |input: &[u8]| run(&STDIN, input));
