//! NVML, the management library of NVIDIA's driver. It is loaded when it is first needed.

use super::{
    fault::GpuFault,
    library::{FoundGpus, GpuDevice, GpuDriver, GpuLibrary, GpuReading, MAX_GPUS},
};
use nvml_wrapper::{
    Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor, enum_wrappers::device::TemperatureSensor,
    error::NvmlError,
};

/// Loads NVML.
pub(super) fn open() -> Result<Box<dyn GpuLibrary>, GpuFault> {
    library(Nvml::init())
}

fn library(loaded: Result<Nvml, NvmlError>) -> Result<Box<dyn GpuLibrary>, GpuFault> {
    Ok(Box::new(NvmlLibrary(loaded.map_err(fault)?)))
}

struct NvmlLibrary(Nvml);

impl GpuLibrary for NvmlLibrary {
    fn driver(&self) -> Result<GpuDriver, GpuFault> {
        let cuda = self.0.sys_cuda_driver_version().map_err(fault)?;
        Ok(GpuDriver {
            version: self.0.sys_driver_version().map_err(fault)?,
            cuda: (number(cuda_driver_version_major(cuda)), number(cuda_driver_version_minor(cuda))),
        })
    }

    fn devices(&self) -> Result<FoundGpus, GpuFault> {
        let count = self.0.device_count().map_err(fault)?.min(MAX_GPUS);
        let mut found = FoundGpus::default();
        for index in 0..count {
            let device = self.0.device_by_index(index).map_err(fault);
            match device.and_then(|device| describe(index, &device)) {
                Ok(device) => found.devices.push(device),
                Err(fault) => found.faults.push((index, fault)),
            }
        }
        Ok(found)
    }

    fn reading(&self, index: u32) -> Result<GpuReading, GpuFault> {
        let device = self.0.device_by_index(index).map_err(fault)?;
        Ok(GpuReading {
            used_bytes: device.memory_info().ok().map(|memory| memory.used),
            utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
            celsius: device.temperature(TemperatureSensor::Gpu).ok(),
            milliwatts: device.power_usage().ok(),
        })
    }
}

fn describe(index: u32, device: &Device<'_>) -> Result<GpuDevice, GpuFault> {
    let capability = device.cuda_compute_capability().map_err(fault)?;
    let processes = device.running_compute_processes().unwrap_or_default();
    Ok(GpuDevice {
        index,
        uuid: device.uuid().map_err(fault)?,
        model: device.name().map_err(fault)?,
        memory_bytes: device.memory_info().map_err(fault)?.total,
        capability: (number(capability.major), number(capability.minor)),
        pci_address: pci_address(&device.pci_info().map_err(fault)?.bus_id),
        processes: processes.into_iter().map(|process| process.pid).collect(),
    })
}

/// Returns the name in `/sys/bus/pci/devices` of the device that NVML calls `bus_id`: NVML writes eight digits of the
/// domain and capital letters, the kernel four digits and small letters.
fn pci_address(bus_id: &str) -> String {
    let small = bus_id.to_lowercase();
    match small.split_once(':') {
        Some((domain, rest)) => {
            format!("{:0>4}:{rest}", domain.trim_start_matches('0'))
        }
        None => small,
    }
}

fn number(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn fault(error: NvmlError) -> GpuFault {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded => GpuFault::NoDriver,
        // The library of an old driver does not have every function.
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => GpuFault::DriverTooOld { found: None },
        NvmlError::NotFound => GpuFault::NoDevice,
        NvmlError::GpuLost | NvmlError::ResetRequired => GpuFault::Lost(error.to_string()),
        NvmlError::LibRmVersionMismatch => GpuFault::DriverMismatch,
        other => GpuFault::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    /// Loads a fake of NVML with three GPUs, of which only the first works. `defines` are macros of `fake_nvml.c`.
    fn fake(defines: &[&str]) -> Result<Box<dyn GpuLibrary>, GpuFault> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnvidia-ml.so.1");
        // Not by its path: a build folder that several clones share may have the path of another clone.
        let source = folder.path().join("fake_nvml.c");
        fs::write(&source, include_str!("../../tests/fake_nvml.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC"]).args(defines).arg(source).arg("-o").arg(&file);
        assert!(compiler.status().expect("the linker of Rust is there").success());
        // The library stays loaded without its file.
        library(Nvml::builder().lib_path(file.as_os_str()).init())
    }

    fn lost() -> GpuFault {
        GpuFault::Lost(NvmlError::GpuLost.to_string())
    }

    #[test]
    fn gpus_and_their_faults_are_read_from_the_library_of_the_driver() {
        let library = fake(&["-DINIT=0"]).unwrap();
        assert_eq!(library.driver(), Ok(GpuDriver { version: "580.65.06".to_owned(), cuda: (13, 2) }));
        let found = library.devices().unwrap();
        let expected = GpuDevice {
            index: 0,
            uuid: "GPU-1234".to_owned(),
            model: "NVIDIA H200".to_owned(),
            memory_bytes: 150_000_000_000,
            capability: (9, 0),
            pci_address: "0000:c7:00.0".to_owned(),
            processes: vec![7, 8],
        };
        assert_eq!(found.devices, [expected]);
        assert_eq!(found.faults, [(1, lost()), (2, lost())]);
    }

    #[test]
    fn a_value_that_a_gpu_does_not_report_is_absent() {
        let library = fake(&["-DINIT=0"]).unwrap();
        let expected = GpuReading {
            used_bytes: Some(5_000_000_000),
            utilization_percent: None,
            celsius: Some(61),
            milliwatts: Some(300_500),
        };
        assert_eq!(library.reading(0), Ok(expected));
        assert_eq!(library.reading(1), Err(lost()));
        assert_eq!(library.reading(2), Ok(GpuReading::default()));
    }

    /// NVML returns the error `code` when it is initialized.
    #[track_caller]
    fn check_init(code: u32, expected: &GpuFault) {
        let found = fake(&[&format!("-DINIT={code}")]).err();
        assert_eq!(found.as_ref(), Some(expected), "{code}");
    }

    #[test]
    fn a_driver_that_does_not_work_is_a_fault() {
        check_init(9, &GpuFault::NoDriver);
        check_init(15, &lost());
        check_init(18, &GpuFault::DriverMismatch);
    }

    #[test]
    fn a_library_without_a_function_is_too_old() {
        let found = fake(&["-DINIT=0", "-DOLD"]).unwrap().devices().unwrap();
        assert_eq!(found.faults[0], (0, GpuFault::DriverTooOld { found: None }));
    }

    #[test]
    fn the_kernel_knows_a_device_under_its_own_form_of_the_address() {
        assert_eq!(pci_address("00000000:17:00.0"), "0000:17:00.0");
        assert_eq!(pci_address("00010000:C7:00.0"), "10000:c7:00.0");
        assert_eq!(pci_address("0000000A:C7:00.0"), "000a:c7:00.0");
    }

    #[test]
    fn errors_of_the_library_are_sentences() {
        assert_eq!(fault(NvmlError::DriverNotLoaded), GpuFault::NoDriver);
        assert!(matches!(fault(NvmlError::GpuLost), GpuFault::Lost(_)));
        assert_eq!(fault(NvmlError::LibRmVersionMismatch), GpuFault::DriverMismatch);
        assert!(matches!(fault(NvmlError::NoPermission), GpuFault::Other(_)));
    }
}
