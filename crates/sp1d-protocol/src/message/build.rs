//! The versions that both sides must have in common.

use crate::wire;
use sp1d_model::clean_line;
use std::fmt;

/// The versions and features that a program proves with. Parts of a proof fit together only if they were made with
/// equal values. Only `release` may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Version of SP1's crates.
    pub sp1_version: String,
    /// Version of SP1's circuits.
    pub circuit_version: String,
    /// Root of the Merkle tree of the recursion programs' verifying keys.
    pub recursion_root: Vec<u8>,
    /// Features that change what is proven, in sorted order.
    pub features: Vec<String>,
    /// Version of this software, for people. It is not compared.
    pub release: String,
}

/// Why two builds cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} differs: the orchestrator has {orchestrator}, the worker has {worker} (install the same sp1d release on both)"
)]
pub struct Mismatch {
    /// The field that differs.
    pub what: &'static str,
    /// The value of the orchestrator.
    pub orchestrator: String,
    /// The value of the worker.
    pub worker: String,
}

impl Build {
    /// Returns the compared fields with their names and values, as text for people.
    fn facts(&self) -> [(&'static str, String); 4] {
        [
            ("the SP1 version", self.sp1_version.clone()),
            ("the circuit version", self.circuit_version.clone()),
            ("the Merkle root of the recursion keys", Hex(&self.recursion_root).to_string()),
            ("the set of SP1 features", format!("[{}]", self.features.join(", "))),
        ]
    }

    /// Checks that a worker of build `worker` may work for this orchestrator's build.
    ///
    /// # Errors
    /// Returns the first compared field that differs.
    pub fn check_worker(&self, worker: &Self) -> Result<(), Mismatch> {
        for ((what, orchestrator), (_, worker)) in self.facts().into_iter().zip(worker.facts()) {
            if orchestrator != worker {
                return Err(Mismatch { what, orchestrator, worker });
            }
        }
        Ok(())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Build> for wire::Build {
    fn from(build: Build) -> Self {
        let Build { sp1_version, circuit_version, recursion_root, features, release } = build;
        Self { sp1_version, circuit_version, recursion_root: recursion_root.into(), features, release }
    }
}

impl From<wire::Build> for Build {
    /// Cuts fields that are longer than in any valid build, so that a peer cannot fill the log.
    fn from(build: wire::Build) -> Self {
        let short = |text: String| clean_line(&text, 64);
        Self {
            sp1_version: short(build.sp1_version),
            circuit_version: short(build.circuit_version),
            recursion_root: build.recursion_root.iter().copied().take(64).collect(),
            features: build.features.into_iter().take(16).map(short).collect(),
            release: short(build.release),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build() -> Build {
        Build {
            sp1_version: "6.10.0".into(),
            circuit_version: "v6.1.0".into(),
            recursion_root: vec![1, 2],
            features: vec![],
            release: "0.1.0".into(),
        }
    }

    fn check_mismatch(change: impl FnOnce(&mut Build), orchestrator: &str, worker: &str) {
        let mut other = build();
        change(&mut other);
        let text = build().check_worker(&other).unwrap_err().to_string();
        assert!(text.contains(orchestrator) && text.contains(worker), "{text}");
    }

    #[test]
    fn equal_builds_match_even_if_releases_differ() {
        assert_eq!(build().check_worker(&build()), Ok(()));
        assert_eq!(build().check_worker(&Build { release: "0.2.0".into(), ..build() }), Ok(()));
    }

    #[test]
    fn every_mismatch_names_both_sides() {
        check_mismatch(|worker| worker.sp1_version = "6.9.0".into(), "6.10.0", "6.9.0");
        check_mismatch(|worker| worker.circuit_version = "v6.0.0".into(), "v6.1.0", "v6.0.0");
        check_mismatch(|worker| worker.recursion_root = vec![3], "0102", "03");
        check_mismatch(|worker| worker.features = vec!["experimental".into()], "[]", "[experimental]");
    }

    #[test]
    fn a_hostile_build_is_cut_short() {
        let hostile = wire::Build { sp1_version: "\n".repeat(9) + &"x".repeat(1 << 20), ..Default::default() };
        assert_eq!(Build::from(hostile).sp1_version, " ".repeat(9) + &"x".repeat(55));
    }
}
