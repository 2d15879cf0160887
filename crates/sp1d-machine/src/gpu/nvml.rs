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
    Ok(Box::new(NvmlLibrary(Nvml::init().map_err(fault)?)))
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
        NvmlError::LibloadingError(_)
        | NvmlError::LibraryNotFound
        | NvmlError::DriverNotLoaded
        | NvmlError::FailedToLoadSymbol(_) => GpuFault::NoDriver,
        NvmlError::NotFound => GpuFault::NoDevice,
        NvmlError::GpuLost | NvmlError::ResetRequired => GpuFault::Lost(error.to_string()),
        NvmlError::LibRmVersionMismatch => GpuFault::DriverMismatch,
        other => GpuFault::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
