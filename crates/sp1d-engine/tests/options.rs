//! Runs the unit tests in `options.rs`, with the modules that the file uses. See `memory.rs` for the reason.

#[path = "../src/device.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod device;
#[path = "../src/memory.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod memory;
#[path = "../src/options.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod options;
#[path = "../src/program.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod program;
