//! The global allocator. It decides a sixth of a prover's time.
//!
//! Proving a shard allocates five gigabytes for about a minute, in blocks of hundreds of megabytes. The C library maps
//! each block anew and unmaps it when it is freed. Touching the fresh pages then takes a sixth of the time. jemalloc
//! keeps freed blocks for later allocations and for the next shard. The kernel can still reclaim these pages under
//! memory pressure: they count as resident and as available at the same time.

use std::{ffi::c_char, ptr};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// jemalloc's options. After about five seconds, freed pages are marked as reclaimable (`MADV_FREE`); jemalloc never
/// unmaps them by itself. Transparent huge pages save a twelfth of a shard's time where the kernel offers them on
/// request. See jemalloc(3), TUNING.
const OPTIONS: &[u8] = b"background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:-1,thp:always\0";

/// jemalloc reads its options from this symbol, as a C string.
#[expect(unsafe_code, reason = "the allocator reads its options from a symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: Option<&'static c_char> = Some(
    // Points to the first byte. The last byte is zero.
    unsafe { &*OPTIONS.as_ptr().cast() },
);

/// Returns all unused memory to the system.
#[expect(unsafe_code, reason = "a call into the allocator")]
pub(crate) fn release_memory() {
    // 4096 is `MALLCTL_ARENAS_ALL` of jemalloc(3): all arenas.
    const PURGE: &[u8] = b"arena.4096.purge\0";
    // The name is a C string. The call has neither an input nor an output value.
    let failed = unsafe {
        tikv_jemalloc_sys::mallctl(PURGE.as_ptr().cast(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0)
    };
    if failed != 0 {
        tracing::debug!(code = failed, "cannot return unused memory to the system");
    }
}
