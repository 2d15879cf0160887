//! Loads the driver's management library.

#[cfg(feature = "gpu")]
use super::nvml::open;
use super::{fault::GpuFault, library::GpuLibrary};

/// Loads the driver's management library.
///
/// # Errors
/// Fails if this build has no GPU support, or if no driver is found.
pub fn gpu_library() -> Result<Box<dyn GpuLibrary>, GpuFault> {
    open()
}

#[cfg(not(feature = "gpu"))]
fn open() -> Result<Box<dyn GpuLibrary>, GpuFault> {
    Err(GpuFault::NotBuilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "gpu"))]
    fn a_build_without_gpu_support_names_the_build_that_has_it() {
        let Err(fault) = gpu_library() else { panic!("the build has GPU support") };
        assert!(fault.to_string().ends_with("hint: build it with `./x gpu`, or with the feature `gpu` and CUDA"));
    }

    #[test]
    #[cfg(feature = "gpu")]
    fn a_missing_library_is_a_missing_driver() {
        // Machines with a driver open it.
        if let Err(fault) = gpu_library() {
            assert_eq!(fault, GpuFault::NoDriver);
        }
    }
}
