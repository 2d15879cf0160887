//! The target `worker-list`, for libFuzzer.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls functions with fixed names")]

use sp1d_fuzz::{WORKER_LIST, run, start};

libfuzzer_sys::fuzz_target!(init: start(&WORKER_LIST), |input: &[u8]| run(&WORKER_LIST, input));
