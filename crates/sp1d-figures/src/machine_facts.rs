//! Describes the machine and the software that figures were measured with.

use serde::Serialize;
use sp1d_machine::{GpuLibrary, gpu_library};
use std::{fs, path::Path};

/// The machine and the software that figures were measured with.
#[derive(Debug, Serialize)]
pub struct MachineFacts {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus: Option<GpuFacts>,
    kernel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sp1: Option<String>,
    release: String,
}

/// The GPUs of a machine, as NVIDIA's driver describes them in its folder. Unlike its library, a build without GPU
/// support can read this folder. Some containers have only the library.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct GpuFacts {
    /// The model of each GPU.
    models: Vec<String>,
    /// Version of the driver.
    driver: String,
}

/// The folder of NVIDIA's driver.
const DRIVER_FOLDER: &str = "/proc/driver/nvidia";

impl GpuFacts {
    /// Reads the folder of the driver. `None` without a driver or without GPUs.
    fn read(folder: &Path) -> Option<Self> {
        let version = fs::read_to_string(folder.join("version")).ok()?;
        let gpus = fs::read_dir(folder.join("gpus")).ok()?.flatten();
        Self::of(&version, gpus.filter_map(|gpu| fs::read_to_string(gpu.path().join("information")).ok()))
    }

    /// `version` is the file with the version of the driver, and `gpus` are the files about its GPUs.
    fn of(version: &str, gpus: impl Iterator<Item = String>) -> Option<Self> {
        let is_version = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.');
        let driver = version.lines().next()?.split_whitespace().find(is_version)?.to_owned();
        let model = |text: String| Some(text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned());
        let mut models: Vec<String> = gpus.filter_map(model).collect();
        models.sort();
        (!models.is_empty()).then_some(Self { models, driver })
    }

    /// Asks the library of the driver. `None` if it has no GPU that works.
    fn of_library(library: &dyn GpuLibrary) -> Option<Self> {
        let driver = library.driver().ok()?.version;
        let mut models: Vec<String> = library.devices().ok()?.devices.into_iter().map(|gpu| gpu.model).collect();
        models.sort();
        (!models.is_empty()).then_some(Self { models, driver })
    }

    /// Describes the GPUs of this machine.
    fn of_this_machine() -> Option<Self> {
        Self::read(Path::new(DRIVER_FOLDER)).or_else(|| Self::of_library(&*gpu_library().ok()?))
    }
}

impl MachineFacts {
    /// Describes this machine. `sp1` is the version of SP1 that proves; `None` if the bench proves nothing. `release`
    /// is the version of this software.
    #[must_use]
    pub fn this(sp1: Option<String>, release: String) -> Self {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: sp1d_machine::Memory::now().map_or(0, |memory| memory.total_bytes),
            gpus: GpuFacts::of_this_machine(),
            kernel: kernel.trim().to_owned(),
            sp1,
            release,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_machine::{FoundGpus, GpuDevice, GpuDriver, GpuFault, GpuReading};

    /// `gpus` are the files about the GPUs. `expected` are the models and the driver.
    #[track_caller]
    fn check(version: &str, gpus: &[&str], expected: Option<(&[&str], &str)>) {
        let found = GpuFacts::of(version, gpus.iter().map(ToString::to_string));
        let expected = expected.map(|(models, driver)| GpuFacts {
            models: models.iter().map(ToString::to_string).collect(),
            driver: driver.to_owned(),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn figures_name_the_models_of_gpus_and_their_driver() {
        const CLOSED: &str = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:16:00 UTC 2025\n\
                              GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n";
        const OPEN: &str = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57  Release Build\n";
        const H200: &str = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 255\nGPU UUID: \t GPU-1\n";
        const L4: &str = "Model: \t\t NVIDIA L4\nIRQ:   \t\t 255\n";
        check(CLOSED, &[L4, H200], Some((&["NVIDIA H200", "NVIDIA L4"], "580.65.06")));
        check(OPEN, &[H200], Some((&["NVIDIA H200"], "575.57")));
        check(OPEN, &[], None);
        check(OPEN, &["IRQ: 255"], None);
        check("", &[H200], None);
    }

    /// A driver whose GPUs have these models.
    struct Models(&'static [&'static str]);

    impl GpuLibrary for Models {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Ok(GpuDriver { version: "580.65.06".to_owned(), cuda: (13, 0) })
        }

        fn devices(&self) -> Result<FoundGpus, GpuFault> {
            let device = |(index, model): (u32, &&str)| GpuDevice {
                index,
                uuid: format!("GPU-{index}"),
                model: (*model).to_owned(),
                memory_bytes: 24 << 30,
                capability: (8, 9),
                pci_address: "0000:17:00.0".to_owned(),
                processes: Vec::new(),
            };
            Ok(FoundGpus { devices: (0..).zip(self.0).map(device).collect(), faults: Vec::new() })
        }

        fn reading(&self, _: u32) -> Result<GpuReading, GpuFault> {
            Err(GpuFault::NoDriver)
        }
    }

    #[test]
    fn the_library_describes_the_gpus_where_the_driver_has_no_folder() {
        let models = ["NVIDIA H200", "NVIDIA L4"].map(str::to_owned).to_vec();
        let expected = GpuFacts { models, driver: "580.65.06".to_owned() };
        assert_eq!(GpuFacts::of_library(&Models(&["NVIDIA L4", "NVIDIA H200"])), Some(expected));
        assert_eq!(GpuFacts::of_library(&Models(&[])), None);
    }
}
