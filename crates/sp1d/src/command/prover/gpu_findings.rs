//! Checks the GPUs of this machine for `sp1d doctor`.

use super::finding::{CheckFinding, CheckVerdict, finding, wrong};
use sp1d_engine::{MIN_GPU_BYTES, largest_gpu_cut, pinned_bytes};
use sp1d_machine::{GpuCode, GpuDevice, GpuFault, GpuLibrary, gpu_code};

/// Checks the driver and each GPU. Returns nothing for a build without GPU support.
pub(super) fn gpus(library: &Result<Box<dyn GpuLibrary>, GpuFault>) -> Vec<CheckFinding> {
    match library {
        Ok(library) => driver_and_gpus(&**library),
        Err(GpuFault::NotBuilt) => Vec::new(),
        // This build also proves on processors.
        Err(fault) => vec![CheckFinding { verdict: CheckVerdict::Odd, ..wrong("GPU driver", fault, "") }],
    }
}

fn driver_and_gpus(library: &dyn GpuLibrary) -> Vec<CheckFinding> {
    let of_driver = match library.driver().and_then(|driver| driver.check().map(|()| driver)) {
        Ok(driver) => {
            let found = format!("version {}, CUDA {}.{}", driver.version, driver.cuda.0, driver.cuda.1);
            finding("GPU driver", CheckVerdict::Good, found, "")
        }
        Err(fault) => wrong("GPU driver", fault, ""),
    };
    let mut findings = vec![of_driver];
    match library.devices() {
        Ok(devices) if devices.is_empty() => findings.push(wrong("GPU", GpuFault::NoDevice, "")),
        Ok(devices) => findings.extend(devices.iter().map(gpu)),
        Err(fault) => findings.push(wrong("GPU", fault, "")),
    }
    findings
}

fn gpu(device: &GpuDevice) -> CheckFinding {
    let GpuDevice { index, model, memory_bytes, capability: (major, minor), processes, .. } = device;
    let what = format!("GPU {index}");
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let Some(cut) = largest_gpu_cut(*memory_bytes) else {
        return wrong(what, GpuFault::TooLittleMemory { memory_bytes: *memory_bytes, needed_bytes: MIN_GPU_BYTES }, "");
    };
    let code = match gpu_code(device.capability) {
        Ok(code) => code,
        Err(fault) => return wrong(what, fault, ""),
    };
    let found = format!(
        "{model}, {}, compute capability {major}.{minor}; a prover pins {} of the machine's memory",
        gigabytes(*memory_bytes),
        gigabytes(pinned_bytes(cut))
    );
    if !processes.is_empty() {
        let found = format!("{found}; {} processes compute on it", processes.len());
        return finding(what, CheckVerdict::Odd, found, "stop them before a worker starts: `nvidia-smi` lists them");
    }
    match code {
        GpuCode::Native => finding(what, CheckVerdict::Good, found, ""),
        GpuCode::Compiled => finding(
            what,
            CheckVerdict::Odd,
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
        devices: Result<Vec<GpuDevice>, GpuFault>,
    }

    impl GpuLibrary for PlantedGpus {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Ok(GpuDriver { version: "580.65".to_owned(), cuda: self.cuda })
        }

        fn devices(&self) -> Result<Vec<GpuDevice>, GpuFault> {
            self.devices.clone()
        }

        fn reading(&self, _: u32) -> Result<GpuReading, GpuFault> {
            Ok(GpuReading::default())
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

    /// Each of `expected` is the verdict of a finding, and a part of what was found or of its remedy.
    #[track_caller]
    fn check(cuda: (u32, u32), devices: Result<Vec<GpuDevice>, GpuFault>, expected: &[(CheckVerdict, &str)]) {
        let found = gpus(&Ok(Box::new(PlantedGpus { cuda, devices })));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, (verdict, part)) in found.iter().zip(expected) {
            assert_eq!(finding.verdict, *verdict, "{finding:?}");
            assert!(finding.found.contains(part) || finding.remedy.contains(part), "{finding:?}");
        }
    }

    #[test]
    fn each_problem_of_a_gpu_has_a_sentence() {
        use CheckVerdict::{Good, Odd, Wrong};
        let driver = (Good, "version 580.65, CUDA 13.0");
        let large = 80 << 30;
        check((13, 0), Ok(vec![device(large, (9, 0), &[])]), &[driver, (Good, "85.9 GB, compute capability 9.0")]);
        check((13, 0), Ok(vec![device(large, (9, 0), &[7, 8])]), &[driver, (Odd, "2 processes compute on it")]);
        check((13, 0), Ok(vec![device(16 << 30, (9, 0), &[])]), &[driver, (Wrong, "SP1's GPU prover needs 20.4 GB")]);
        check((13, 0), Ok(vec![device(large, (7, 5), &[])]), &[driver, (Wrong, "no code for the GPU's compute")]);
        check((13, 0), Ok(Vec::new()), &[driver, (Wrong, "finds no GPU")]);
        let lost = GpuFault::Lost("GPU is lost".to_owned());
        check((13, 0), Err(lost), &[driver, (Wrong, "`dmesg` has the Xid")]);
        let old = (Wrong, "driver 580.65 is too old");
        check((12, 8), Ok(vec![device(large, (9, 0), &[])]), &[old, (Good, "H200")]);
    }

    #[test]
    fn a_missing_driver_is_odd_and_a_build_without_gpus_is_silent() {
        let found = gpus(&Err(GpuFault::NoDriver));
        assert_eq!((found.len(), found[0].verdict), (1, CheckVerdict::Odd));
        assert!(found[0].found.contains("no NVIDIA driver found"), "{found:?}");
        assert_eq!(gpus(&Err(GpuFault::NotBuilt)), []);
    }
}
