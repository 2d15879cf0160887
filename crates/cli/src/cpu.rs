//! Does this processor have what the build uses, and does the build use what it has?

use crate::exit;
use std::process::ExitCode;

/// A processor feature that matters for proving.
struct Feature {
    name: &'static str,
    /// The build uses it.
    built: bool,
    /// The processor has it.
    present: bool,
}

#[cfg(target_arch = "x86_64")]
macro_rules! features {
    ($($name:tt),* $(,)?) => {
        [$(Feature { name: $name, built: cfg!(target_feature = $name), present: std::arch::is_x86_feature_detected!($name) }),*]
    };
}

#[cfg(target_arch = "x86_64")]
fn features() -> impl IntoIterator<Item = Feature> {
    features![
        "sse4.2",
        "avx",
        "avx2",
        "bmi1",
        "bmi2",
        "fma",
        "adx",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512ifma"
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> impl IntoIterator<Item = Feature> {
    []
}

fn lacking(features: impl IntoIterator<Item = Feature>) -> Vec<&'static str> {
    features.into_iter().filter(|feature| feature.built && !feature.present).map(|feature| feature.name).collect()
}

/// Of those that SP1's field arithmetic has code for.
fn unused(features: impl IntoIterator<Item = Feature>) -> Option<&'static str> {
    let features: Vec<_> = features.into_iter().collect();
    let wide = ["avx512f", "avx2"];
    wide.into_iter()
        .find(|wide| features.iter().any(|feature| feature.name == *wide && feature.present && !feature.built))
}

/// Ends with a sentence where the program would end with an illegal instruction.
#[expect(clippy::print_stderr, reason = "nothing else can be relied on yet")]
pub(crate) fn check() -> Result<(), ExitCode> {
    let lacking = lacking(features());
    if lacking.is_empty() {
        return Ok(());
    }
    eprintln!(
        "error: this sp1d was built for a processor with {}, which this one lacks; build it on this machine, or with \
         RUSTFLAGS=\"-C target-cpu=x86-64-v3\" for all that have AVX2",
        lacking.join(", ")
    );
    Err(ExitCode::from(exit::HOST))
}

/// Warns when proving could be faster.
pub(crate) fn warn_if_slow() {
    if let Some(feature) = unused(features()) {
        tracing::warn!(
            "this sp1d was built without {feature}, which this processor has: proving takes up to four times as long; \
             build it with RUSTFLAGS=\"-C target-cpu=native\""
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &'static str, built: bool, present: bool) -> Feature {
        Feature { name, built, present }
    }

    #[test]
    fn features_that_are_built_in_and_missing_are_named() {
        assert_eq!(lacking([feature("avx2", true, true), feature("avx512f", true, false)]), ["avx512f"]);
        assert!(lacking([feature("avx2", false, false), feature("fma", true, true)]).is_empty());
    }

    #[test]
    fn the_widest_unused_feature_is_told() {
        assert_eq!(unused([feature("avx2", false, true), feature("avx512f", false, true)]), Some("avx512f"));
        assert_eq!(unused([feature("avx2", false, true), feature("avx512f", false, false)]), Some("avx2"));
        assert_eq!(unused([feature("avx2", true, true), feature("adx", false, true)]), None);
    }

    #[test]
    fn the_build_runs_on_the_machine_that_tests_it() {
        assert!(lacking(features()).is_empty());
    }
}
