//! What an error of a GPU or of its driver means.

/// Why a GPU cannot be used, now or at all. The text is a sentence, with a hint if there is something to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuFault {
    /// The program was built without the feature `gpu`.
    #[error("this build of sp1d has no GPU support\nhint: build it with `./x gpu`, or with the feature `gpu` and CUDA")]
    NotBuilt,
    /// The driver is not installed or not loaded.
    #[error(
        "no NVIDIA driver found\n\
         hint: install the driver, then check it with `nvidia-smi`; a container needs access to it"
    )]
    NoDriver,
    /// The driver is older than the CUDA version of the build. CUDA reports the same error if the driver's library for
    /// CUDA is missing, for example in a container.
    #[error(
        "the NVIDIA driver{} is too old for this build, which uses CUDA {}.{}{}\n\
         hint: install a driver for CUDA {}.{} or newer (`nvidia-smi` shows the version){}",
        .found.as_ref().map(|found| format!(" {found}")).unwrap_or_default(),
        BUILD_CUDA.0, BUILD_CUDA.1,
        .found.as_ref().map_or(", or its library libcuda.so.1 is missing", |_| ""),
        BUILD_CUDA.0, BUILD_CUDA.1,
        .found.as_ref().map_or("; a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility", |_| "")
    )]
    DriverTooOld {
        /// The version of the driver; `None` if CUDA has reported the error.
        found: Option<String>,
    },
    /// The driver's kernel module and its libraries have different versions.
    #[error(
        "the parts of the NVIDIA driver have different versions\n\
         hint: restart the machine after an update of the driver; in a container, remove CUDA's `compat` libraries"
    )]
    DriverMismatch,
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
        "`--gpus all` cannot follow CUDA_VISIBLE_DEVICES={list}{}\n\
         hint: list numbers or UUIDs of GPUs (`nvidia-smi -L` has both); numbers of different models also need \
         CUDA_DEVICE_ORDER=PCI_BUS_ID. Or unset it, or name the GPUs, for example `--gpus 0,1`",
        unclear_numbers(.lost)
    )]
    VisibleDevices {
        /// The value of `CUDA_VISIBLE_DEVICES`.
        list: String,
        /// The numbers of the GPUs that the driver cannot describe. With such a GPU, the numbers in the list are not
        /// clear.
        lost: Vec<u32>,
    },
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
    /// Less memory of the GPU is free than a prover needs.
    #[error(
        "the GPU has {:.1} GB of free memory, a prover needs at least {:.1} GB\n\
         hint: stop other programs that use this GPU (`nvidia-smi` lists them)",
        *.free_bytes as f64 / 1e9, *.needed_bytes as f64 / 1e9
    )]
    LittleFreeMemory {
        /// Free memory of the GPU.
        free_bytes: u64,
        /// The least free memory with which a prover is loaded.
        needed_bytes: u64,
    },
    /// Another process has the GPU for itself, or the driver cannot provide it at the moment.
    #[error(
        "the GPU is busy or unavailable\n\
         hint: stop the program that has it for itself (`nvidia-smi` lists it), or set the compute mode `Default`"
    )]
    Busy,
    /// The links between the GPUs of the machine are not set up.
    #[error(
        "the GPUs of this machine are not initialized\n\
         hint: with NVSwitch, start NVIDIA's fabric manager (`systemctl status nvidia-fabricmanager`)"
    )]
    NotInitialized,
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
    /// Returns true if a later try may succeed with the same build, driver and machine: another program frees the
    /// GPU's memory, or an administrator resets the GPU. A lost GPU can also be missing.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::OutOfMemory
            | Self::LoadMemory
            | Self::LittleFreeMemory { .. }
            | Self::Busy
            | Self::NotInitialized
            | Self::Lost(_)
            | Self::NoDevice
            | Self::Other(_) => true,
            Self::NotBuilt
            | Self::NoDriver
            | Self::DriverTooOld { .. }
            | Self::DriverMismatch
            | Self::UnknownDevice { .. }
            | Self::VisibleDevices { .. }
            | Self::TooLittleMemory { .. }
            | Self::UnsupportedCapability { .. } => false,
        }
    }
}

/// Returns why the numbers of GPUs are not clear, as the end of a sentence: because of the GPUs `lost`.
fn unclear_numbers(lost: &[u32]) -> String {
    if lost.is_empty() {
        return String::new();
    }
    let lost: Vec<String> = lost.iter().map(|index| format!("GPU {index}")).collect();
    format!(": the driver cannot describe {}, so the numbers of the others are not clear", lost.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_gpu_names_the_kernel_log() {
        let lost = GpuFault::Lost("the GPU is lost".to_owned()).to_string();
        let sentence = lost.lines().next().unwrap();
        assert!(sentence.contains("`dmesg` has the Xid"), "log lines have no hint: {sentence}");
        assert!(lost.contains("`dmesg | grep Xid`"), "{lost}");
    }

    #[test]
    fn a_fault_says_what_was_found() {
        let old = GpuFault::DriverTooOld { found: Some("535.54".to_owned()) }.to_string();
        assert!(old.starts_with("the NVIDIA driver 535.54 is too old for this build, which uses CUDA 13.0\nhint: "));
        let lost = GpuFault::VisibleDevices { list: "0".to_owned(), lost: vec![2, 5] }.to_string();
        assert!(lost.contains("CUDA_VISIBLE_DEVICES=0: the driver cannot describe GPU 2 and GPU 5, so"), "{lost}");
        let unclear = GpuFault::VisibleDevices { list: "none".to_owned(), lost: Vec::new() }.to_string();
        assert!(unclear.contains("CUDA_VISIBLE_DEVICES=none\nhint: "), "{unclear}");
        let small = GpuFault::TooLittleMemory { memory_bytes: 8 << 30, needed_bytes: 20 << 30 };
        assert!(small.to_string().contains("has 8.6 GB of memory"), "{small}");
        let full = GpuFault::LittleFreeMemory { free_bytes: 1 << 30, needed_bytes: 10 << 30 };
        assert!(full.to_string().contains("has 1.1 GB of free memory, a prover needs at least 10.7 GB"), "{full}");
        let unknown = GpuFault::UnknownDevice { index: 4, count: 2 }.to_string();
        assert!(unknown.starts_with("GPU 4 does not exist, this machine has 2\nhint: "), "{unknown}");
    }

    #[test]
    fn a_driver_that_is_too_old_for_cuda_may_also_be_incomplete() {
        let text = GpuFault::DriverTooOld { found: None }.to_string();
        assert!(text.contains("too old for this build, which uses CUDA 13.0, or its library libcuda.so.1 is missing"));
        assert!(text.ends_with("a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility"), "{text}");
    }
}
