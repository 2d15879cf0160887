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

    /// Returns the GPUs of this machine by number, at most [`MAX_GPUS`].
    ///
    /// # Errors
    /// Returns the driver's error.
    fn devices(&self) -> Result<Vec<GpuDevice>, GpuFault>;

    /// Returns the present state of the GPU with number `index`.
    ///
    /// # Errors
    /// Returns the driver's error.
    fn reading(&self, index: u32) -> Result<GpuReading, GpuFault>;
}

/// Returns the GPUs of this machine after a check of the driver.
///
/// # Errors
/// Fails if the driver is too old or reports an error, or if it finds no GPU.
pub fn check_gpus(library: &dyn GpuLibrary) -> Result<Vec<GpuDevice>, GpuFault> {
    library.driver()?.check()?;
    let devices = library.devices()?;
    if devices.is_empty() { Err(GpuFault::NoDevice) } else { Ok(devices) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver whose answers are planted.
    struct FakeGpuLibrary {
        cuda: (u32, u32),
        devices: Result<Vec<GpuDevice>, GpuFault>,
    }

    impl GpuLibrary for FakeGpuLibrary {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Ok(GpuDriver { version: "1.2".to_owned(), cuda: self.cuda })
        }

        fn devices(&self) -> Result<Vec<GpuDevice>, GpuFault> {
            self.devices.clone()
        }

        fn reading(&self, _: u32) -> Result<GpuReading, GpuFault> {
            Ok(GpuReading::default())
        }
    }

    #[track_caller]
    fn check(cuda: (u32, u32), devices: Result<Vec<GpuDevice>, GpuFault>, expected: Result<usize, GpuFault>) {
        let found = check_gpus(&FakeGpuLibrary { cuda, devices });
        assert_eq!(found.map(|devices| devices.len()), expected);
    }

    #[test]
    fn a_driver_is_refused_with_the_reason() {
        let device = GpuDevice {
            index: 0,
            uuid: "GPU-1".to_owned(),
            model: "a GPU".to_owned(),
            memory_bytes: 80 << 30,
            capability: (9, 0),
            pci_address: "0000:17:00.0".to_owned(),
            processes: Vec::new(),
        };
        let lost = GpuFault::Lost("GPU is lost".to_owned());
        check((13, 0), Ok(vec![device.clone()]), Ok(1));
        check((13, 1), Ok(vec![device.clone()]), Ok(1));
        check((12, 9), Ok(vec![device]), Err(GpuFault::DriverTooOld { found: Some("1.2".to_owned()) }));
        check((13, 0), Ok(Vec::new()), Err(GpuFault::NoDevice));
        check((13, 0), Err(lost.clone()), Err(lost));
    }
}
