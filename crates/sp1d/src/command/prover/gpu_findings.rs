//! Checks the GPUs of this machine for `sp1d doctor`.

use super::finding::{CheckFinding, CheckOutcome, failed, finding};
use sp1d_engine::{MIN_FREE_GPU_BYTES, MIN_GPU_BYTES, largest_gpu_cut, pinned_bytes};
use sp1d_machine::{FoundGpus, GpuCode, GpuDevice, GpuFault, GpuLibrary, check_free_memory, gpu_code, gpu_library};
use sp1d_model::counted;
use sp1d_worker::call_driver;
use std::time::Duration;

/// How long the driver may take to describe all GPUs. It takes some seconds if no program uses them, and never
/// responds if one of them hangs.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Checks the driver and each GPU of this machine. Returns nothing for a build without GPU support.
pub(super) async fn gpus_of_this_machine() -> Vec<CheckFinding> {
    let found = call_driver(RESPONSE_TIMEOUT, || gpus(&gpu_library())).await;
    found.unwrap_or_else(|| {
        let silent = format!("the NVIDIA driver has not responded for {} s", RESPONSE_TIMEOUT.as_secs());
        vec![failed(
            "GPU driver",
            silent,
            "run `dmesg | grep Xid`: a GPU may hang, and then the machine needs a restart",
        )]
    })
}

fn gpus(library: &Result<Box<dyn GpuLibrary>, GpuFault>) -> Vec<CheckFinding> {
    match library {
        Ok(library) => driver_and_gpus(&**library),
        Err(GpuFault::NotBuilt) => Vec::new(),
        // This build also proves on processors.
        Err(fault) => vec![CheckFinding { outcome: CheckOutcome::Warning, ..failed("GPU driver", fault, "") }],
    }
}

fn driver_and_gpus(library: &dyn GpuLibrary) -> Vec<CheckFinding> {
    let of_driver = match library.driver().and_then(|driver| driver.check().map(|()| driver)) {
        Ok(driver) => {
            let found = format!("version {}, CUDA {}.{}", driver.version, driver.cuda.0, driver.cuda.1);
            finding("GPU driver", CheckOutcome::Passed, found, "")
        }
        Err(fault) => failed("GPU driver", fault, ""),
    };
    let mut findings = vec![of_driver];
    match library.devices() {
        Ok(found) if found == FoundGpus::default() => findings.push(failed("GPU", GpuFault::NoDevice, "")),
        Ok(FoundGpus { devices, faults }) => {
            findings.extend(devices.iter().map(|device| gpu(library, device)));
            findings.extend(faults.iter().map(|(index, fault)| failed(format!("GPU {index}"), fault, "")));
        }
        Err(fault) => findings.push(failed("GPU", fault, "")),
    }
    findings
}

fn gpu(library: &dyn GpuLibrary, device: &GpuDevice) -> CheckFinding {
    let GpuDevice { index, model, memory_bytes, capability: (major, minor), processes, .. } = device;
    let what = format!("GPU {index}");
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let Some(cut) = largest_gpu_cut(*memory_bytes) else {
        return failed(
            what,
            GpuFault::TooLittleMemory { memory_bytes: *memory_bytes, needed_bytes: MIN_GPU_BYTES },
            "",
        );
    };
    let code = match gpu_code(device.capability) {
        Ok(code) => code,
        Err(fault) => return failed(what, fault, ""),
    };
    let found = format!(
        "{model}, {}, compute capability {major}.{minor}; a prover pins {} of the machine's memory",
        gigabytes(*memory_bytes),
        gigabytes(pinned_bytes(cut))
    );
    if !processes.is_empty() {
        let found = format!("{found}; in use by {}", counted(processes.len(), "program"));
        return finding(
            what,
            CheckOutcome::Warning,
            found,
            "stop them before a worker starts: `nvidia-smi` lists them",
        );
    }
    // The driver does not list the processes of other containers.
    if let Err(fault) = check_free_memory(library, std::slice::from_ref(device), MIN_FREE_GPU_BYTES) {
        return CheckFinding { outcome: CheckOutcome::Warning, ..failed(what, fault, "") };
    }
    match code {
        GpuCode::Native => finding(what, CheckOutcome::Passed, found, ""),
        GpuCode::Compiled => finding(
            what,
            CheckOutcome::Warning,
            format!("{found}; this build has no code for it, so the driver compiles for minutes at the first start"),
            format!("build with `CUDA_ARCHS={major}{minor}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_machine::{GpuDriver, GpuReading};

    /// A driver whose answers are planted.
    struct PlantedGpus {
        cuda: (u32, u32),
        devices: Result<FoundGpus, GpuFault>,
        used_bytes: u64,
    }

    impl GpuLibrary for PlantedGpus {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Ok(GpuDriver { version: "580.65".to_owned(), cuda: self.cuda })
        }

        fn devices(&self) -> Result<FoundGpus, GpuFault> {
            self.devices.clone()
        }

        fn reading(&self, _: u32) -> Result<GpuReading, GpuFault> {
            Ok(GpuReading { used_bytes: Some(self.used_bytes), ..GpuReading::default() })
        }
    }

    fn device(memory_bytes: u64, capability: (u32, u32), processes: &[u32]) -> GpuDevice {
        GpuDevice {
            index: 0,
            uuid: "GPU-0".to_owned(),
            model: "H200".to_owned(),
            memory_bytes,
            capability,
            pci_address: "0000:17:00.0".to_owned(),
            processes: processes.to_vec(),
        }
    }

    /// Each of `expected` is the outcome of a finding, and a part of what was found or of its remedy.
    #[track_caller]
    fn check(cuda: (u32, u32), devices: Result<Vec<GpuDevice>, GpuFault>, expected: &[(CheckOutcome, &str)]) {
        let devices = devices.map(|devices| FoundGpus { devices, faults: Vec::new() });
        check_library(PlantedGpus { cuda, devices, used_bytes: 0 }, expected);
    }

    #[track_caller]
    fn check_library(library: PlantedGpus, expected: &[(CheckOutcome, &str)]) {
        let found = gpus(&Ok(Box::new(library)));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, (outcome, part)) in found.iter().zip(expected) {
            assert_eq!(finding.outcome, *outcome, "{finding:?}");
            assert!(finding.found.contains(part) || finding.remedy.contains(part), "{finding:?}");
        }
    }

    #[test]
    fn each_problem_of_a_gpu_has_a_sentence() {
        use CheckOutcome::{Failed, Passed, Warning};
        let driver = (Passed, "version 580.65, CUDA 13.0");
        let large = 80 << 30;
        check((13, 0), Ok(vec![device(large, (9, 0), &[])]), &[driver, (Passed, "85.9 GB, compute capability 9.0")]);
        check((13, 0), Ok(vec![device(large, (9, 0), &[7, 8])]), &[driver, (Warning, "in use by 2 programs")]);
        check((13, 0), Ok(vec![device(16 << 30, (9, 0), &[])]), &[driver, (Failed, "SP1's GPU prover needs 20.4 GB")]);
        check((13, 0), Ok(vec![device(large, (7, 5), &[])]), &[driver, (Failed, "no code for the GPU's compute")]);
        check((13, 0), Ok(vec![device(large, (11, 0), &[])]), &[driver, (Warning, "the driver compiles for minutes")]);
        check((13, 0), Ok(Vec::new()), &[driver, (Failed, "finds no GPU")]);
        let lost = GpuFault::Lost("GPU is lost".to_owned());
        check((13, 0), Err(lost), &[driver, (Failed, "`dmesg` has the Xid")]);
        let old = (Failed, "driver 580.65 is too old");
        check((12, 8), Ok(vec![device(large, (9, 0), &[])]), &[old, (Passed, "H200")]);
    }

    #[test]
    fn a_lost_gpu_and_a_full_gpu_are_named_beside_the_others() {
        use CheckOutcome::{Failed, Passed, Warning};
        let devices = Ok(FoundGpus {
            devices: vec![device(80 << 30, (9, 0), &[])],
            faults: vec![(3, GpuFault::Lost("GPU is lost".to_owned()))],
        });
        let driver = (Passed, "version 580.65, CUDA 13.0");
        let lost = (Failed, "the driver lost the GPU");
        let library = |used_bytes| PlantedGpus { cuda: (13, 0), devices: devices.clone(), used_bytes };
        check_library(library(0), &[driver, (Passed, "H200"), lost]);
        check_library(library(75 << 30), &[driver, (Warning, "the GPU has 5.4 GB of free memory"), lost]);
    }

    #[test]
    fn a_missing_driver_is_a_warning_and_a_build_without_gpus_is_silent() {
        let found = gpus(&Err(GpuFault::NoDriver));
        assert_eq!((found.len(), found[0].outcome), (1, CheckOutcome::Warning));
        assert!(found[0].found.contains("no NVIDIA driver found"), "{found:?}");
        assert_eq!(gpus(&Err(GpuFault::NotBuilt)), []);
    }
}
