//! Returns memory that the allocator keeps after a proving stage.

/// Makes the C library return all unused pages to the operating system. Proving stages leave gigabytes of free memory
/// behind, spread over the arenas of many threads. Takes a fraction of a second.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn release_memory() {
    #[expect(unsafe_code, reason = "only the C library can return its free memory")]
    unsafe extern "C" {
        /// See malloc_trim(3).
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

/// Does nothing: other allocators either return memory without being asked or cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn release_memory() {}
