//! Checks whether this processor has all features that the program was compiled for, and whether the program uses the
//! features that the processor has.
//!
//! The standard library's feature detection cannot do this: for a feature that is enabled at compile time it returns
//! true without asking the processor.

use std::fs;

/// The program would crash with an illegal instruction on this processor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this program was built for processor features that this machine lacks: {}\n\
     hint: build it on this machine, or with `RUSTFLAGS=\"-C target-cpu=x86-64-v3\"` for every processor with AVX2",
    .missing.join(", ")
)]
pub struct ProcessorError {
    /// The missing features, under the names that the compiler uses.
    pub missing: Vec<&'static str>,
}

/// A processor feature that matters for proving.
struct CpuFeature {
    name: &'static str,
    /// Whether the build uses the feature.
    built: bool,
    /// Whether the processor has the feature.
    present: bool,
}

/// Takes pairs of names: the compiler's name of a feature and its name in `/proc/cpuinfo`.
#[cfg(target_arch = "x86_64")]
macro_rules! features {
    ($flags:expr, $($name:tt as $flag:literal),* $(,)?) => {
        vec![$(CpuFeature { name: $name, built: cfg!(target_feature = $name), present: $flags.contains(&$flag) }),*]
    };
}

#[cfg(target_arch = "x86_64")]
fn features(flags: &[&str]) -> Vec<CpuFeature> {
    features!(
        flags,
        "sse4.2" as "sse4_2", "popcnt" as "popcnt", "avx" as "avx", "avx2" as "avx2", "bmi1" as "bmi1", "bmi2" as "bmi2",
        "fma" as "fma", "f16c" as "f16c", "lzcnt" as "abm", "movbe" as "movbe", "adx" as "adx", "aes" as "aes",
        "pclmulqdq" as "pclmulqdq", "sha" as "sha_ni", "gfni" as "gfni", "vaes" as "vaes", "vpclmulqdq" as "vpclmulqdq",
        "avx512f" as "avx512f", "avx512cd" as "avx512cd", "avx512bw" as "avx512bw", "avx512dq" as "avx512dq",
        "avx512vl" as "avx512vl", "avx512ifma" as "avx512ifma", "avx512vbmi" as "avx512vbmi",
        "avx512vbmi2" as "avx512_vbmi2", "avx512vnni" as "avx512_vnni", "avx512bitalg" as "avx512_bitalg",
        "avx512vpopcntdq" as "avx512_vpopcntdq", "avx512bf16" as "avx512_bf16",
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn features(_: &[&str]) -> Vec<CpuFeature> {
    Vec::new()
}

/// Returns the features of this processor; empty if `/proc/cpuinfo` does not list them.
fn of_this_machine() -> Vec<CpuFeature> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let Some(line) = text.lines().find(|line| line.starts_with("flags")) else { return Vec::new() };
    let flags: Vec<&str> = line.split_whitespace().collect();
    features(&flags)
}

fn check(features: &[CpuFeature]) -> Result<(), ProcessorError> {
    let lacking = features.iter().filter(|feature| feature.built && !feature.present);
    let missing: Vec<_> = lacking.map(|feature| feature.name).collect();
    if missing.is_empty() { Ok(()) } else { Err(ProcessorError { missing }) }
}

/// Returns the widest vector extension that SP1's field arithmetic supports, the processor has and the build does not
/// use.
fn unused(features: &[CpuFeature]) -> Option<&'static str> {
    let unused = |name: &str| features.iter().any(|feature| feature.name == name && feature.present && !feature.built);
    ["avx512f", "avx2"].into_iter().find(|name| unused(name))
}

/// Checks that this processor has all features that the program was compiled for. Call this before any code that
/// computes: without the check, the program crashes there with an illegal instruction.
///
/// # Errors
/// Names the features that the processor lacks.
pub fn check_processor() -> Result<(), ProcessorError> {
    check(&of_this_machine())
}

/// Returns a feature of this processor that the program does not use and that would make proving faster.
#[must_use]
pub fn unused_processor_feature() -> Option<&'static str> {
    unused(&of_this_machine())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &'static str, built: bool, present: bool) -> CpuFeature {
        CpuFeature { name, built, present }
    }

    #[test]
    fn missing_features_of_the_build_are_listed() {
        let error = check(&[feature("avx2", true, true), feature("avx512f", true, false)]).unwrap_err();
        assert_eq!(error.missing, ["avx512f"]);
        let text = error.to_string();
        assert!(
            text.lines().next().unwrap().ends_with("lacks: avx512f") && text.contains("\nhint: build it"),
            "{text}"
        );
        assert_eq!(check(&[feature("avx2", false, false), feature("fma", true, true)]), Ok(()));
    }

    #[test]
    #[cfg(target_feature = "avx2")]
    fn a_processor_without_avx2_is_detected() {
        assert!(check(&features(&["flags", ":", "sse4_2", "avx"])).unwrap_err().missing.contains(&"avx2"));
    }

    #[test]
    fn the_widest_unused_feature_is_reported() {
        assert_eq!(unused(&[feature("avx2", false, true), feature("avx512f", false, true)]), Some("avx512f"));
        assert_eq!(unused(&[feature("avx2", false, true), feature("avx512f", false, false)]), Some("avx2"));
        assert_eq!(unused(&[feature("avx2", true, true), feature("adx", false, true)]), None);
    }

    #[test]
    fn the_build_needs_no_feature_that_this_machine_lacks() {
        assert_eq!(check_processor(), Ok(()));
        assert_eq!(of_this_machine().is_empty(), !cfg!(target_arch = "x86_64"));
    }
}
