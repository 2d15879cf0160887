//! The target `events`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{run, start};
use sp1d_fuzz_engine::EVENTS;

libfuzzer_sys::fuzz_target!(init: start(&EVENTS), |input: &[u8]| run(&EVENTS, input));
