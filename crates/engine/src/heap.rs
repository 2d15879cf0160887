//! Memory that the allocator keeps when a proving stage has ended.

/// Has the C library give the pages back to the system that nothing lives on. Stages leave gigabytes of them behind,
/// spread over the arenas of many threads. Takes a fraction of a second.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() {
    #[expect(unsafe_code, reason = "the C library alone can do it")]
    unsafe extern "C" {
        /// See malloc_trim(3).
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

/// Other allocators give back by themselves, or not at all.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
