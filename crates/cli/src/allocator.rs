//! The allocator, which decides a sixth of a prover's time.
//!
//! A shard takes five gigabytes for a minute, in pieces of hundreds of megabytes. The C library asks the system for
//! each of them and gives it back, and touching fresh pages is then a sixth of the work. jemalloc keeps what was freed,
//! for the next piece and the next shard, and lets the system take it when anybody needs it: such pages count as
//! resident and as available at the same time.

use std::{ffi::c_char, ptr};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What has been free for some seconds may be taken by the system (MADV_FREE), and is never given back beyond that.
/// Large pages, where the system has them for those who ask, save a twelfth of a shard's time. See jemalloc(3), TUNING.
const OPTIONS: &[u8] = b"background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:-1,thp:always\0";

/// Where jemalloc looks for its options: a C string.
#[expect(unsafe_code, reason = "the allocator reads its options from a symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: Option<&'static c_char> = Some(
    // The first of the bytes, of which the last is zero.
    unsafe { &*OPTIONS.as_ptr().cast() },
);

/// Gives all memory back to the system that nothing lives in.
#[expect(unsafe_code, reason = "a call into the allocator")]
pub(crate) fn give_back() {
    // All arenas: MALLCTL_ARENAS_ALL of jemalloc(3).
    const PURGE: &[u8] = b"arena.4096.purge\0";
    // The name is a C string; the call takes and gives no value.
    let failed = unsafe {
        tikv_jemalloc_sys::mallctl(PURGE.as_ptr().cast(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0)
    };
    if failed != 0 {
        tracing::debug!(code = failed, "give memory back");
    }
}
