//! What an error of a GPU or of its driver means.

/// Why a GPU cannot be used, now or at all. The text is a sentence, with a hint if there is something to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuFault {
    /// The program was built without the feature `gpu`.
    #[error("this build of sp1d has no GPU support\nhint: build it with `./x gpu`, or with the feature `gpu` and CUDA")]
    NotBuilt,
    /// The driver is not installed or not loaded.
    #[error("no NVIDIA driver found\nhint: install the driver, then check it with `nvidia-smi`")]
    NoDriver,
    /// The driver is older than the CUDA version of the build.
    #[error(
        "the NVIDIA driver{} is too old for this build, which uses CUDA {}.{}\n\
         hint: install a driver for CUDA {}.{} or newer (`nvidia-smi` shows the version)",
        .found.as_ref().map(|found| format!(" {found}")).unwrap_or_default(),
        BUILD_CUDA.0, BUILD_CUDA.1, BUILD_CUDA.0, BUILD_CUDA.1
    )]
    DriverTooOld {
        /// The version of the driver; `None` if it is unknown.
        found: Option<String>,
    },
    /// The driver finds no GPU.
    #[error("the NVIDIA driver finds no GPU\nhint: `nvidia-smi` lists GPUs; a container needs access to them")]
    NoDevice,
    /// The machine does not have the GPU that was asked for.
    #[error("GPU {index} does not exist, this machine has {count}\nhint: `nvidia-smi -L` lists the GPUs, from 0")]
    UnknownDevice {
        /// The number that was asked for.
        index: u32,
        /// Number of GPUs of the machine.
        count: usize,
    },
    /// The GPUs that the environment allows are not clear.
    #[error(
        "`--gpus all` cannot follow CUDA_VISIBLE_DEVICES={0}\n\
         hint: list numbers or UUIDs of GPUs (`nvidia-smi -L` has both); numbers of different models also need \
         CUDA_DEVICE_ORDER=PCI_BUS_ID. Or unset it, or name the GPUs, for example `--gpus 0,1`"
    )]
    VisibleDevices(String),
    /// The GPU has less memory than SP1's provers need.
    #[error(
        "the GPU has {:.1} GB of memory, SP1's GPU prover needs {:.1} GB\nhint: use a GPU with 24 GB or more",
        *.memory_bytes as f64 / 1e9, *.needed_bytes as f64 / 1e9
    )]
    TooLittleMemory {
        /// Memory of the GPU.
        memory_bytes: u64,
        /// The least memory that is enough.
        needed_bytes: u64,
    },
    /// The build contains no code for this generation of GPUs.
    #[error(
        "this build has no code for the GPU's compute capability{}\n\
         hint: build with `CUDA_ARCHS` set to the capability without its dot, for example 89 for 8.9",
        .capability.map(|(major, minor)| format!(" {major}.{minor}")).unwrap_or_default()
    )]
    UnsupportedCapability {
        /// Major and minor number of the capability; `None` if it is unknown.
        capability: Option<(u32, u32)>,
    },
    /// An allocation on the GPU failed.
    #[error("the GPU ran out of memory\nhint: stop other programs that use this GPU (`nvidia-smi` lists them)")]
    OutOfMemory,
    /// An allocation failed while a prover was loaded. It does not say which one.
    #[error(
        "the prover cannot be loaded: the GPU has too little free memory, or the system did not pin enough memory of \
         the machine\n\
         hint: stop other programs that use this GPU (`nvidia-smi` lists them), and check `ulimit -l` and the memory \
         limit of the container"
    )]
    LoadMemory,
    /// The driver lost the GPU. It seldom comes back by itself. Neither CUDA nor NVML reports the Xid, the driver's
    /// number of the cause. The kernel log has it.
    #[error(
        "the driver lost the GPU: {0}; `dmesg` has the Xid of the error\n\
         hint: run `dmesg | grep Xid` on the machine with the GPU; the GPU may need a reset, or the machine a restart"
    )]
    Lost(String),
    /// Another error of CUDA or of the driver.
    #[error("the GPU reported an error: {0}\nhint: if the hardware is the cause, `dmesg | grep Xid` shows its error")]
    Other(String),
}

/// The CUDA version that builds use, major and minor number. `./x gpu` installs it.
pub(super) const BUILD_CUDA: (u32, u32) = (13, 0);

impl GpuFault {
    /// Classifies an error of CUDA by its text. `None` if the text names none. SP1's GPU provers pass on the texts of
    /// the CUDA runtime, mostly inside a panic, and no codes.
    #[must_use]
    pub fn of_cuda(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        // The order matters: "cuda" stands in most texts. SP1's buffers panic with "allocation failed" for every error
        // of CUDA in an allocation.
        if has(&["out of gpu memory", "outofmemory", "out of memory", "allocerror", "allocation failed"]) {
            return Some(Self::OutOfMemory);
        }
        if has(&["driver version is insufficient", "unsupported toolchain", "forward compatibility"]) {
            return Some(Self::DriverTooOld { found: None });
        }
        if has(&["no cuda-capable device", "invalid device ordinal"]) {
            return Some(Self::NoDevice);
        }
        if has(&["no kernel image"]) {
            return Some(Self::UnsupportedCapability { capability: None });
        }
        // The texts that the driver gives after a Xid: a lost bus, broken memory, or a reset.
        if has(&[
            "uncorrectable ecc",
            "hardware error",
            "device is lost",
            "gpu is lost",
            "fallen off the bus",
            "system not yet initialized",
            "mps server",
            "unspecified launch failure",
        ]) {
            return Some(Self::Lost(text.to_owned()));
        }
        has(&["cudarusterror", "cuda error", "cudaerror"]).then(|| Self::Other(text.to_owned()))
    }

    /// Returns true if a later try may succeed with the same build, driver and machine: another program frees the
    /// GPU's memory, or an administrator resets the GPU. A lost GPU can also be missing.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::OutOfMemory | Self::LoadMemory | Self::Lost(_) | Self::NoDevice | Self::Other(_) => true,
            Self::NotBuilt
            | Self::NoDriver
            | Self::DriverTooOld { .. }
            | Self::UnknownDevice { .. }
            | Self::VisibleDevices(_)
            | Self::TooLittleMemory { .. }
            | Self::UnsupportedCapability { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = GpuFault::of_cuda(text).unwrap_or_else(|| panic!("{text} is not classified")).to_string();
        assert!(found.contains(expected), "{found:?} does not contain {expected:?}");
    }

    #[test]
    fn errors_of_cuda_are_sentences() {
        check("called `Result::unwrap()` on an `Err` value: OutOfMemory", "the GPU ran out of memory");
        check("out of GPU memory", "the GPU ran out of memory");
        check("task 7 panicked with message \"allocation failed\"", "the GPU ran out of memory");
        check("other CUDA error: CudaRustError: no CUDA-capable device is detected", "finds no GPU");
        check(
            "CudaRustError: CUDA driver version is insufficient for CUDA runtime version",
            "driver is too old for this build, which uses CUDA 13.0",
        );
        check("CudaRustError: the provided PTX was compiled with an unsupported toolchain", "driver is too old");
        check("CudaRustError: no kernel image is available for execution on the device", "compute capability\n");
        check("CudaRustError: uncorrectable ECC error encountered", "lost the GPU: CudaRustError: uncorrectable");
        check("CudaRustError: unspecified launch failure", "`dmesg` has the Xid");
        check(
            "CudaRustError: an illegal memory access was encountered",
            "reported an error: CudaRustError: an illegal",
        );
    }

    #[test]
    fn faults_of_hardware_name_the_kernel_log() {
        for text in ["CudaRustError: the GPU is lost", "CudaRustError: an illegal memory access was encountered"] {
            check(text, "`dmesg | grep Xid`");
        }
        let lost = GpuFault::Lost("the GPU is lost".to_owned()).to_string();
        let sentence = lost.lines().next().unwrap();
        assert!(sentence.contains("`dmesg` has the Xid"), "log lines have no hint: {sentence}");
    }

    #[test]
    fn only_faults_that_pass_without_a_change_of_the_machine_are_temporary() {
        #[track_caller]
        fn check(text: &str, expected: bool) {
            let fault = GpuFault::of_cuda(text).unwrap_or_else(|| panic!("{text} is not classified"));
            assert_eq!(fault.is_temporary(), expected, "{fault}");
        }
        check("out of GPU memory", true);
        check("CudaRustError: the GPU is lost", true);
        check("CudaRustError: no CUDA-capable device is detected", true);
        check("CudaRustError: all CUDA-capable devices are busy or unavailable", true);
        check("CudaRustError: CUDA driver version is insufficient for CUDA runtime version", false);
        check("CudaRustError: no kernel image is available for execution on the device", false);
        assert!(!GpuFault::TooLittleMemory { memory_bytes: 1, needed_bytes: 2 }.is_temporary());
    }

    #[test]
    fn other_errors_are_not_errors_of_a_gpu() {
        for text in ["", "cannot fetch record", "assertion failed: a == b"] {
            assert_eq!(GpuFault::of_cuda(text), None, "{text}");
        }
    }

    #[test]
    fn a_fault_says_what_was_found() {
        let old = GpuFault::DriverTooOld { found: Some("535.54".to_owned()) }.to_string();
        assert!(old.starts_with("the NVIDIA driver 535.54 is too old"), "{old}");
        let small = GpuFault::TooLittleMemory { memory_bytes: 8 << 30, needed_bytes: 20 << 30 };
        assert!(small.to_string().contains("has 8.6 GB of memory"), "{small}");
        let unknown = GpuFault::UnknownDevice { index: 4, count: 2 }.to_string();
        assert!(unknown.starts_with("GPU 4 does not exist, this machine has 2\nhint: "), "{unknown}");
    }
}
