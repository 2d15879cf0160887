//! The generations of GPUs that a build has code for.

use super::fault::GpuFault;

/// The architectures that SP1's build script compiles by default with CUDA 12.8 or newer.
const DEFAULT_ARCHITECTURES: &str = "80,86,89,90,100,120";

/// How a build runs on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuCode {
    /// The build has code for its generation.
    Native,
    /// The driver compiles the code of an older generation when a prover starts, which takes minutes the first time.
    Compiled,
}

/// Returns how this build runs on a GPU with the compute capability `capability`, major and minor number.
///
/// # Errors
/// Fails if it cannot run there.
pub fn gpu_code(capability: (u32, u32)) -> Result<GpuCode, GpuFault> {
    choose(option_env!("CUDA_ARCHS").unwrap_or(DEFAULT_ARCHITECTURES), capability)
}

/// `architectures` are those of the build, for example `80,90`. Code for 8.6 runs on 8.9, but not on 9.0. For each
/// architecture, the build also has a portable form, which the driver compiles for every later GPU.
fn choose(architectures: &str, capability: (u32, u32)) -> Result<GpuCode, GpuFault> {
    // A suffix like the one of 90a names features, not a number.
    let number = |text: &str| text.trim().trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse::<u32>().ok();
    let built = || architectures.split([',', ';']).filter_map(number).map(|number| (number / 10, number % 10));
    if built().any(|built| built.0 == capability.0 && built.1 <= capability.1) {
        Ok(GpuCode::Native)
    } else if built().any(|built| built < capability) {
        Ok(GpuCode::Compiled)
    } else {
        Err(GpuFault::UnsupportedCapability { capability: Some(capability) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(architectures: &str, capability: (u32, u32), expected: Option<GpuCode>) {
        assert_eq!(choose(architectures, capability).ok(), expected);
    }

    #[test]
    fn code_runs_on_later_gpus_only() {
        use GpuCode::{Compiled, Native};
        check("80,86,89,90,100,120", (8, 9), Some(Native));
        check("80,86,89,90,100,120", (12, 0), Some(Native));
        check("80", (8, 6), Some(Native));
        check("86", (8, 0), None);
        check("80", (9, 0), Some(Compiled));
        check("90", (8, 9), None);
        check("90a", (9, 0), Some(Native));
        check("80;90", (9, 0), Some(Native));
        check("80,90", (7, 5), None);
        check("", (9, 0), None);
        check("native", (9, 0), None);
    }
}
