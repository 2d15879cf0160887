//! Options that determine how a run is cut into shards.

use crate::{device::ProverDevice, memory::smaller_cut, program::ProgramShape};
use serde::{Deserialize, Serialize};
use sp1_core_executor::{
    ELEMENT_THRESHOLD, HEIGHT_THRESHOLD, MINIMAL_TRACE_CHUNK_THRESHOLD, RetainedEventsPreset, SP1CoreOpts,
    ShardingThreshold, SplitOpts, SyscallCode,
};
use sp1d_orchestrator::ProofFailure;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Determines how a run is cut into shards. Made once, on the orchestrator, and sent with every task: the executor that
/// cuts the run and the worker that generates the traces of a shard must use the same options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOptions {
    #[serde(default)]
    origin: CutOrigin,
    /// The pool had GPUs when the cut was chosen or checked: workers that are too small for full shards get none. This
    /// stays with the cut when a service restarts, because the pool may be incomplete then.
    ///
    /// Services have stored the options of their proofs with the name `leaves_out_small_workers`.
    #[serde(default, rename = "leaves_out_small_workers", skip_serializing_if = "std::ops::Not::not")]
    excludes_small_workers: bool,
    #[serde(flatten)]
    options: SP1CoreOpts,
}

/// Who decides after how many trace cells a shard ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CutOrigin {
    /// The user has set the number.
    #[default]
    Set,
    /// The runner chooses the number before it executes the program.
    Auto,
    /// The runner has chosen the number.
    Chosen,
}

/// The value with which a user leaves the choice of an option to the runner.
const AUTO: &str = "auto";

/// Why options are not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The value is not a number.
    #[error("{name}={value} is not a number")]
    Number {
        /// The environment variable.
        name: &'static str,
        /// The value of the variable.
        value: String,
    },
    /// The number is too small or too large.
    #[error("{name}={value} is out of range, {min} to {max} is allowed\nhint: choose a value in this range")]
    Range {
        /// The environment variable.
        name: &'static str,
        /// The value of the variable.
        value: u64,
        /// The smallest allowed number.
        min: u64,
        /// The largest allowed number.
        max: u64,
    },
    /// Options that were received from a peer cannot be decoded.
    #[error("cannot decode the options: {0}")]
    Decode(String),
}

/// A value that SP1 accepts and workers do not, and the value that is used instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedValue {
    /// The environment variable.
    pub variable: &'static str,
    /// The value as given.
    pub given: String,
    /// The value that is used.
    pub used: String,
    /// What is wrong with the given value.
    pub reason: String,
}

/// An option that users can set with an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOption {
    /// The environment variable.
    pub name: &'static str,
    /// SP1's default.
    pub default: u64,
    /// Whether the value can be `auto`, which is then also the default. `meaning` says what `auto` does.
    pub auto: bool,
    /// The smallest allowed value.
    pub min: u64,
    /// The largest allowed value.
    pub max: u64,
    /// The smallest value with which SP1 does not panic.
    pub sp1_min: u64,
    /// What the option does, and its unit.
    pub meaning: &'static str,
}

/// SP1 panics if the fixed tables do not fit: 1,245,184 elements, and 17 for each instruction of the program. The lower
/// bound leaves room for them. Above the default, a shard no longer fits the circuits.
const ELEMENTS: CutOption = CutOption {
    name: "ELEMENT_THRESHOLD",
    default: ELEMENT_THRESHOLD,
    auto: true,
    min: (1 << 25) - (1 << 22),
    max: ELEMENT_THRESHOLD,
    sp1_min: 1_245_184,
    meaning: "trace cells after which a shard ends; smaller shards need less memory and more proving time in total; \
              `auto` chooses the largest value that fits the workers",
};
/// SP1 reserves 1024 rows of each table, and panics if there are fewer.
const HEIGHT: CutOption = CutOption {
    name: "HEIGHT_THRESHOLD",
    default: HEIGHT_THRESHOLD,
    auto: true,
    min: 1 << 16,
    max: HEIGHT_THRESHOLD,
    sp1_min: 1 << 10,
    meaning: "rows of one table after which a shard ends; `auto` is the largest value that SP1 allows",
};
/// The default is SP1's, which SP1 does not export.
const SHARD_SIZE: CutOption = CutOption {
    name: "SHARD_SIZE",
    default: 1 << 24,
    auto: false,
    min: 1 << 14,
    max: 1 << 24,
    sp1_min: 0,
    meaning: "cycles after which a shard ends",
};
const CHUNK: CutOption = CutOption {
    name: "MINIMAL_TRACE_CHUNK_THRESHOLD",
    default: MINIMAL_TRACE_CHUNK_THRESHOLD,
    auto: false,
    min: 1 << 14,
    max: 1 << 27,
    sp1_min: 0,
    meaning: "memory accesses after which the executor hands over a chunk of its trace",
};
/// The executor waits for a free slot. With only one slot it could not run ahead of its reader.
const CHUNK_SLOTS: CutOption = CutOption {
    name: "TRACE_CHUNK_SLOTS",
    default: 5,
    auto: false,
    min: 2,
    max: 64,
    sp1_min: 0,
    meaning: "trace chunks that may wait for processing before the executor pauses",
};
const MEMORY: CutOption = CutOption {
    name: "MEMORY_LIMIT",
    default: 24 << 30,
    auto: false,
    min: 16 << 20,
    max: 1 << 40,
    sp1_min: 0,
    meaning: "bytes of memory that the executed program may use",
};

impl CutOption {
    fn check(&self, value: u64) -> Result<u64, OptionsError> {
        if (self.min..=self.max).contains(&value) {
            return Ok(value);
        }
        Err(self.out_of_range(value))
    }

    fn out_of_range(&self, value: u64) -> OptionsError {
        OptionsError::Range { name: self.name, value, min: self.min, max: self.max }
    }

    /// Returns the allowed value nearest to `value`.
    ///
    /// # Errors
    /// Fails if SP1 panics with `value`.
    fn nearest(&self, value: u64) -> Result<u64, OptionsError> {
        if value < self.sp1_min { Err(self.out_of_range(value)) } else { Ok(value.clamp(self.min, self.max)) }
    }

    fn is_auto(&self, value: &str) -> bool {
        self.auto && value.trim() == AUTO
    }

    fn read(&self, variable: impl Fn(&str) -> Option<String>) -> Result<u64, OptionsError> {
        match variable(self.name).filter(|value| !self.is_auto(value)) {
            None => Ok(self.default),
            Some(value) => match value.trim().parse() {
                Ok(number) => self.check(number),
                Err(_) => Err(OptionsError::Number { name: self.name, value }),
            },
        }
    }
}

/// Converts the value of an option that SP1 keeps as a size.
fn size(number: u64) -> usize {
    usize::try_from(number).expect("the allowed maximum is far smaller")
}

impl CutOptions {
    /// All options that users can set.
    pub const ALL: [CutOption; 6] = [ELEMENTS, HEIGHT, SHARD_SIZE, CHUNK, CHUNK_SLOTS, MEMORY];

    /// Takes over options in SP1's form, as SP1's clients use it. The nearest allowed number replaces a number that SP1
    /// accepts and workers do not. Returns the replaced numbers too.
    ///
    /// # Errors
    /// Fails if SP1 panics with an option.
    pub fn from_sp1(options: SP1CoreOpts) -> Result<(Self, Vec<ReplacedValue>), OptionsError> {
        let mut replaced = Vec::new();
        let mut nearest = |option: CutOption, value: u64| {
            let used = option.nearest(value)?;
            if used != value {
                let reason = format!("out of range; expected {} to {}", option.min, option.max);
                let (variable, given, used) = (option.name, value.to_string(), used.to_string());
                replaced.push(ReplacedValue { variable, given, used, reason });
            }
            Ok::<_, OptionsError>(used)
        };
        let options = SP1CoreOpts {
            minimal_trace_chunk_threshold: nearest(CHUNK, options.minimal_trace_chunk_threshold)?,
            trace_chunk_slots: size(nearest(CHUNK_SLOTS, options.trace_chunk_slots as u64)?),
            memory_limit: nearest(MEMORY, options.memory_limit)?,
            shard_size: size(nearest(SHARD_SIZE, options.shard_size as u64)?),
            sharding_threshold: ShardingThreshold {
                element_threshold: nearest(ELEMENTS, options.sharding_threshold.element_threshold)?,
                height_threshold: nearest(HEIGHT, options.sharding_threshold.height_threshold)?,
            },
            ..options
        };
        Ok((Self { origin: CutOrigin::Set, excludes_small_workers: false, options }, replaced))
    }

    /// Returns SP1's defaults, changed by the environment variables that SP1 itself reads. `variable` returns the value
    /// of a variable.
    ///
    /// # Errors
    /// Fails if a variable is not a number or is out of range.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, OptionsError> {
        let is_set = variable(ELEMENTS.name).is_some_and(|value| !ELEMENTS.is_auto(&value));
        let origin = if is_set { CutOrigin::Set } else { CutOrigin::Auto };
        let options = SP1CoreOpts {
            minimal_trace_chunk_threshold: CHUNK.read(&variable)?,
            trace_chunk_slots: size(CHUNK_SLOTS.read(&variable)?),
            memory_limit: MEMORY.read(&variable)?,
            shard_size: size(SHARD_SIZE.read(&variable)?),
            sharding_threshold: ShardingThreshold {
                element_threshold: ELEMENTS.read(&variable)?,
                height_threshold: HEIGHT.read(&variable)?,
            },
            retained_events_presets: [
                RetainedEventsPreset::Bls12381Field,
                RetainedEventsPreset::Bn254Field,
                RetainedEventsPreset::Sha256,
                RetainedEventsPreset::Poseidon2,
                RetainedEventsPreset::U256Ops,
            ]
            .into(),
            global_dependencies_opt: false,
            recompute_gkr_trace: false,
            drop_ldes: false,
            full_size_shards: false,
            // The other options are used only for estimating gas, with SP1's own values.
            ..SP1CoreOpts::default()
        };
        Ok(Self { origin, excludes_small_workers: false, options })
    }

    /// Returns the options as JSON, the form in which they are sent to workers.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("options are serializable")
    }

    /// Returns the same text for the same options. [`CutOptions::encode`] does not: it contains a set, whose order
    /// varies.
    pub(crate) fn canonical(&self) -> String {
        let Self { mut options, .. } = self.clone();
        let presets = std::mem::take(&mut options.retained_events_presets);
        let mut presets: Vec<String> = presets.into_iter().map(|preset| format!("{preset:?}")).collect();
        presets.sort();
        let options = serde_json::to_string(&options).expect("options are serializable");
        format!("{presets:?} {options}")
    }

    /// Decodes options that were received from a peer.
    ///
    /// # Errors
    /// Fails if the text cannot be decoded, or if an option is out of range.
    pub fn decode(text: &str) -> Result<Self, OptionsError> {
        let decoded: Self = serde_json::from_str(text).map_err(|error| OptionsError::Decode(error.to_string()))?;
        decoded.check()?;
        Ok(decoded)
    }

    fn check(&self) -> Result<(), OptionsError> {
        let options = &self.options;
        ELEMENTS.check(options.sharding_threshold.element_threshold)?;
        HEIGHT.check(options.sharding_threshold.height_threshold)?;
        SHARD_SIZE.check(options.shard_size as u64)?;
        CHUNK.check(options.minimal_trace_chunk_threshold)?;
        CHUNK_SLOTS.check(options.trace_chunk_slots as u64)?;
        MEMORY.check(options.memory_limit)?;
        Ok(())
    }

    /// Returns true if the runner still has to choose the size of shards by the memory of the workers.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.origin == CutOrigin::Auto
    }

    /// Returns true if the user has set the size of shards.
    pub(crate) fn is_set(&self) -> bool {
        self.origin == CutOrigin::Set
    }

    /// Returns the number of trace cells after which a shard ends.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        self.options.sharding_threshold.element_threshold
    }

    /// Returns the same options with a smaller limit for the memory of the executed program, if it is above `bytes`.
    #[must_use]
    pub fn with_memory_at_most(mut self, bytes: u64) -> Self {
        self.options.memory_limit = self.options.memory_limit.min(bytes.max(MEMORY.min));
        self
    }

    /// Returns the same options with `threshold`, marked as chosen by the runner.
    pub(crate) fn chosen(mut self, threshold: u64) -> Self {
        self.origin = CutOrigin::Chosen;
        self.options.sharding_threshold.element_threshold = threshold;
        self
    }

    /// Returns the same options for a run that excludes the workers that are too small for its full shards.
    pub(crate) fn excluding_small_workers(mut self) -> Self {
        self.excludes_small_workers = true;
        self
    }

    /// Returns true if workers that are too small for full shards get none.
    pub(crate) fn excludes_small_workers(&self) -> bool {
        self.excludes_small_workers
    }

    /// Returns the same options for a new choice of the number of cells. Returns `None` if no worker is excluded, or if
    /// the user has set the number.
    pub(crate) fn choosing_again(&self) -> Option<Self> {
        let may = self.excludes_small_workers && self.origin == CutOrigin::Chosen;
        may.then(|| Self { origin: CutOrigin::Auto, excludes_small_workers: false, options: self.options.clone() })
    }

    /// Returns the same options with the next smaller number of cells. Returns `None` if there is no smaller number, or
    /// if the user has set the number.
    pub(crate) fn smaller(&self) -> Option<Self> {
        let smaller = smaller_cut(self.threshold()).filter(|_| self.origin == CutOrigin::Chosen);
        smaller.map(|threshold| self.clone().chosen(threshold))
    }

    /// Returns the setting of the number of cells as a user writes it: `ELEMENT_THRESHOLD=NUMBER`.
    pub(crate) fn threshold_setting(&self) -> String {
        format!("{}={}", ELEMENTS.name, self.threshold())
    }

    /// Checks that a shard has room for `program` and for one event of every precompile. SP1 would otherwise panic or
    /// never finish cutting the run.
    ///
    /// # Errors
    /// Fails if a shard is too small for the program.
    pub(crate) async fn check_for(&self, program: ProgramShape) -> Result<(), ProofFailure> {
        let options = self.options.clone();
        let fits = move || {
            let split = SplitOpts::new(&options, program.instructions, program.may_write_instructions);
            let provable = |code: &SyscallCode| code.should_send() != 0 && code.as_air_id().is_some();
            split.syscall_threshold.iter().all(|(code, threshold)| *threshold > 0 || !provable(&code))
        };
        // `SplitOpts::new` panics if the program does not fit.
        let fits = tokio::task::spawn_blocking(move || catch_unwind(AssertUnwindSafe(fits)).unwrap_or(false)).await;
        if fits.unwrap_or(false) {
            return Ok(());
        }
        let setting = self.threshold_setting();
        Err(ProofFailure::Request(format!(
            "the program does not fit into a shard with {setting}\nhint: raise `{}`",
            ELEMENTS.name
        )))
    }

    /// Returns the options in SP1's form, as the executor uses them.
    pub(crate) fn as_sp1(&self) -> &SP1CoreOpts {
        &self.options
    }

    /// Returns the options in SP1's form, as a prover on `device` uses them. SP1's GPU prover generates the lookups of
    /// global memory on the GPU. A CPU prover with the same setting would leave them out, and its proof would be wrong.
    /// So each prover sets this option itself, whatever the orchestrator sent.
    #[must_use]
    pub fn for_device(&self, device: ProverDevice) -> SP1CoreOpts {
        let global_dependencies_opt = match device {
            ProverDevice::Processor => false,
            ProverDevice::Gpu => true,
        };
        SP1CoreOpts { global_dependencies_opt, ..self.options.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_cut_that_excludes_workers_keeps_that_and_can_be_chosen_again() {
        let auto = CutOptions::from_variables(|_| None).unwrap();
        let plain = auto.clone().chosen(ELEMENT_THRESHOLD);
        assert!(!plain.encode().contains("leaves_out") && plain.choosing_again().is_none());
        let encoded = plain.excluding_small_workers().encode();
        assert!(encoded.contains(r#""leaves_out_small_workers":true"#), "{encoded}");
        let kept = CutOptions::decode(&encoded).unwrap();
        assert!(kept.excludes_small_workers() && kept.smaller().unwrap().excludes_small_workers());
        assert_eq!(kept.choosing_again(), Some(auto.clone()));
        let set = CutOptions { origin: CutOrigin::Set, ..auto }.excluding_small_workers();
        assert_eq!(set.choosing_again(), None);
    }

    #[track_caller]
    fn check(bytes: u64, expected: u64) {
        let options = CutOptions::from_variables(|_| None).unwrap().with_memory_at_most(bytes);
        assert_eq!(options.as_sp1().memory_limit, expected);
    }

    #[test]
    fn memory_of_a_program_is_only_lowered_and_stays_in_range() {
        check(1 << 30, 1 << 30);
        check(u64::MAX, MEMORY.default);
        check(0, MEMORY.min);
    }
}
