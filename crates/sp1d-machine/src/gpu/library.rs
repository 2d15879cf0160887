//! The driver's management library, as the rest of the project sees it.

use super::fault::{BUILD_CUDA, GpuFault};

/// Maximum number of GPUs of a machine that are looked at.
pub const MAX_GPUS: u32 = 64;

/// A GPU of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuDevice {
    /// Its number, in the order of the PCI bus, from 0.
    pub index: u32,
    /// Its unique name, which `CUDA_VISIBLE_DEVICES` accepts.
    pub uuid: String,
    /// The model, for people.
    pub model: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Its compute capability, major and minor number.
    pub capability: (u32, u32),
    /// Its address on the PCI bus as in `/sys/bus/pci/devices`, for example `0000:17:00.0`.
    pub pci_address: String,
    /// Ids of the processes that compute on it.
    pub processes: Vec<u32>,
}

/// The GPUs of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundGpus {
    /// Those that the driver describes, by number.
    pub devices: Vec<GpuDevice>,
    /// The numbers of the others with the driver's errors: a GPU that the driver has lost keeps its number.
    pub faults: Vec<(u32, GpuFault)>,
}

/// The state of a GPU at one moment. A value is `None` if the GPU does not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuReading {
    /// Used memory in bytes, by all processes.
    pub used_bytes: Option<u64>,
    /// Percentage of the time in which the GPU computed.
    pub utilization_percent: Option<u32>,
    /// Temperature in degrees Celsius.
    pub celsius: Option<u32>,
    /// Power in milliwatts.
    pub milliwatts: Option<u32>,
}

/// The driver of the GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuDriver {
    /// The version, for example `580.65.06`.
    pub version: String,
    /// The newest version of CUDA that it runs, major and minor number.
    pub cuda: (u32, u32),
}

impl GpuDriver {
    /// Checks that the driver runs the CUDA version of this build.
    ///
    /// # Errors
    /// Fails if it is too old.
    pub fn check(&self) -> Result<(), GpuFault> {
        if self.cuda < BUILD_CUDA {
            return Err(GpuFault::DriverTooOld { found: Some(self.version.clone()) });
        }
        Ok(())
    }
}

/// What the driver says about the GPUs. NVML in a build with GPU support.
pub trait GpuLibrary: Send + Sync {
    /// Returns the version of the driver.
    ///
    /// # Errors
    /// Returns the driver's error.
    fn driver(&self) -> Result<GpuDriver, GpuFault>;

    /// Returns the GPUs of this machine, at most [`MAX_GPUS`].
    ///
    /// # Errors
    /// Returns the driver's error if it concerns all GPUs.
    fn devices(&self) -> Result<FoundGpus, GpuFault>;

    /// Returns the present state of the GPU with number `index`.
    ///
    /// # Errors
    /// Returns the driver's error.
    fn reading(&self, index: u32) -> Result<GpuReading, GpuFault>;
}

/// Returns the GPUs of this machine after a check of the driver.
///
/// # Errors
/// Fails if the driver is too old or reports an error, or if it finds no GPU that works.
pub fn check_gpus(library: &dyn GpuLibrary) -> Result<FoundGpus, GpuFault> {
    library.driver()?.check()?;
    let found = library.devices()?;
    if !found.devices.is_empty() {
        return Ok(found);
    }
    Err(found.faults.into_iter().next().map_or(GpuFault::NoDevice, |(_, fault)| fault))
}

/// Checks that `needed_bytes` of the memory of each of `gpus` are free. A GPU that does not report its used memory
/// passes.
///
/// # Errors
/// Fails if another program has filled a GPU.
pub fn check_free_memory(library: &dyn GpuLibrary, gpus: &[GpuDevice], needed_bytes: u64) -> Result<(), GpuFault> {
    for gpu in gpus {
        let Some(used) = library.reading(gpu.index).ok().and_then(|reading| reading.used_bytes) else { continue };
        let free_bytes = gpu.memory_bytes.saturating_sub(used);
        if free_bytes < needed_bytes {
            return Err(GpuFault::LittleFreeMemory { free_bytes, needed_bytes });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver whose answers are planted.
    struct FakeGpuLibrary {
        cuda: (u32, u32),
        devices: Result<FoundGpus, GpuFault>,
        /// Used memory of every GPU.
        used_bytes: Option<u64>,
    }

    impl GpuLibrary for FakeGpuLibrary {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Ok(GpuDriver { version: "1.2".to_owned(), cuda: self.cuda })
        }

        fn devices(&self) -> Result<FoundGpus, GpuFault> {
            self.devices.clone()
        }

        fn reading(&self, index: u32) -> Result<GpuReading, GpuFault> {
            // The driver has lost the others.
            if index > 0 {
                return Err(lost());
            }
            Ok(GpuReading { used_bytes: self.used_bytes, ..GpuReading::default() })
        }
    }

    fn device(index: u32) -> GpuDevice {
        GpuDevice {
            index,
            uuid: format!("GPU-{index}"),
            model: "a GPU".to_owned(),
            memory_bytes: 80 << 30,
            capability: (9, 0),
            pci_address: "0000:17:00.0".to_owned(),
            processes: Vec::new(),
        }
    }

    fn lost() -> GpuFault {
        GpuFault::Lost("GPU is lost".to_owned())
    }

    /// Checks a driver for CUDA `cuda` with `devices`. `expected` is the number of GPUs that work.
    #[track_caller]
    fn check(cuda: (u32, u32), devices: Result<FoundGpus, GpuFault>, expected: Result<usize, GpuFault>) {
        let found = check_gpus(&FakeGpuLibrary { cuda, devices, used_bytes: None });
        assert_eq!(found.map(|found| found.devices.len()), expected);
    }

    #[test]
    fn a_driver_is_refused_with_the_reason() {
        let one = || FoundGpus { devices: vec![device(0)], faults: Vec::new() };
        check((13, 0), Ok(one()), Ok(1));
        check((13, 1), Ok(one()), Ok(1));
        check((12, 9), Ok(one()), Err(GpuFault::DriverTooOld { found: Some("1.2".to_owned()) }));
        check((13, 0), Ok(FoundGpus::default()), Err(GpuFault::NoDevice));
        check((13, 0), Err(lost()), Err(lost()));
    }

    #[test]
    fn a_lost_gpu_does_not_hide_the_others() {
        let faults = vec![(1, lost())];
        check((13, 0), Ok(FoundGpus { devices: vec![device(0)], faults: faults.clone() }), Ok(1));
        check((13, 0), Ok(FoundGpus { devices: Vec::new(), faults }), Err(lost()));
    }

    /// The first GPU has 80 GiB, of which `used_bytes` are used. 10 GiB of each of `gpus` must be free.
    #[track_caller]
    fn check_memory(used_bytes: Option<u64>, gpus: &[GpuDevice], expected: Result<(), GpuFault>) {
        let library = FakeGpuLibrary { cuda: (13, 0), devices: Ok(FoundGpus::default()), used_bytes };
        assert_eq!(check_free_memory(&library, gpus, 10 << 30), expected);
    }

    #[test]
    fn a_gpu_that_another_program_has_filled_is_refused() {
        let full = |free_bytes| Err(GpuFault::LittleFreeMemory { free_bytes, needed_bytes: 10 << 30 });
        check_memory(Some(70 << 30), &[device(0)], Ok(()));
        check_memory(Some((70 << 30) + 1), &[device(0)], full((10 << 30) - 1));
        check_memory(Some(u64::MAX), &[device(0)], full(0));
        check_memory(None, &[device(0), device(1)], Ok(()));
        check_memory(Some(u64::MAX), &[device(1)], Ok(()));
        check_memory(Some(u64::MAX), &[], Ok(()));
    }
}
