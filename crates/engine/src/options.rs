//! Options that decide how a run is cut into shards.

use crate::{memory::smaller_cut, program::ProgramSize};
use orchestrator::ProofFailure;
use serde::{Deserialize, Serialize};
use sp1_core_executor::{
    ELEMENT_THRESHOLD, HEIGHT_THRESHOLD, MINIMAL_TRACE_CHUNK_THRESHOLD, RetainedEventsPreset, SP1CoreOpts,
    ShardingThreshold, SplitOpts, SyscallCode,
};
use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// How a run is cut. Made once, on the orchestrator, and sent with every task: the side that cuts and the side that
/// traces again must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOptions {
    #[serde(default)]
    origin: Origin,
    #[serde(flatten)]
    options: SP1CoreOpts,
}

/// Who decides at how many cells a shard ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    /// Whoever made the options.
    #[default]
    Set,
    /// The controller, before it runs the program.
    Auto,
    /// The controller, which has decided.
    Chosen,
}

/// The word for a value that is chosen by the memory of the workers.
const AUTO: &str = "auto";

/// An option is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The text is no number.
    #[error("{name}={value} is no number")]
    Number {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The number is too small or too large.
    #[error("{name}={value} is out of range: {least} to {most}")]
    Range {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Smallest that works.
        least: u64,
        /// Largest that works.
        most: u64,
    },
    /// What came over the wire are no options.
    #[error("the options do not decode: {0}")]
    Decode(String),
}

/// An option as people set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOption {
    /// The environment variable.
    pub name: &'static str,
    /// SP1's default.
    pub default: u64,
    /// It may be chosen by the memory of the workers, and is unless it is set.
    pub auto: bool,
    /// Smallest that works.
    pub least: u64,
    /// Largest that works.
    pub most: u64,
    /// What it does, and its unit.
    pub meaning: &'static str,
}

/// Below the fixed tables (a million elements, and seventeen for each of the program's instructions) SP1 asserts; above
/// the default a shard no longer fits the circuits.
const ELEMENTS: CutOption = CutOption {
    name: "ELEMENT_THRESHOLD",
    default: ELEMENT_THRESHOLD,
    auto: true,
    least: (1 << 25) - (1 << 22),
    most: ELEMENT_THRESHOLD,
    meaning: "trace elements after which a shard ends: smaller shards need less memory and cost more in all; `auto` is the most that fits the workers",
};
const HEIGHT: CutOption = CutOption {
    name: "HEIGHT_THRESHOLD",
    default: HEIGHT_THRESHOLD,
    auto: true,
    least: 1 << 16,
    most: HEIGHT_THRESHOLD,
    meaning: "rows of one table after which a shard ends; `auto` is the most that SP1 allows",
};
/// SP1's own default, which it does not export.
const SHARD_SIZE: CutOption = CutOption {
    name: "SHARD_SIZE",
    default: 1 << 24,
    auto: false,
    least: 1 << 14,
    most: 1 << 24,
    meaning: "cycles after which a shard ends",
};
const CHUNK: CutOption = CutOption {
    name: "MINIMAL_TRACE_CHUNK_THRESHOLD",
    default: MINIMAL_TRACE_CHUNK_THRESHOLD,
    auto: false,
    least: 1 << 14,
    most: 1 << 27,
    meaning: "memory accesses after which the executor hands over a chunk of its trace",
};
/// The executor waits for a free slot; with one it could not run ahead of whoever reads.
const CHUNK_SLOTS: CutOption = CutOption {
    name: "TRACE_CHUNK_SLOTS",
    default: 5,
    auto: false,
    least: 2,
    most: 64,
    meaning: "chunks that the executor may be ahead",
};
const MEMORY: CutOption = CutOption {
    name: "MEMORY_LIMIT",
    default: 24 << 30,
    auto: false,
    least: 16 << 20,
    most: 1 << 40,
    meaning: "bytes of memory that the executed program may use",
};

impl CutOption {
    fn check(&self, value: u64) -> Result<u64, OptionsError> {
        if (self.least..=self.most).contains(&value) {
            return Ok(value);
        }
        Err(OptionsError::Range { name: self.name, value, least: self.least, most: self.most })
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

impl CutOptions {
    /// Every option that people set.
    pub const ALL: [CutOption; 6] = [ELEMENTS, HEIGHT, SHARD_SIZE, CHUNK, CHUNK_SLOTS, MEMORY];

    /// SP1's own form, as its clients take it.
    ///
    /// # Errors
    /// When an option is out of range.
    pub fn from_sp1(options: SP1CoreOpts) -> Result<Self, OptionsError> {
        ELEMENTS.check(options.sharding_threshold.element_threshold)?;
        HEIGHT.check(options.sharding_threshold.height_threshold)?;
        SHARD_SIZE.check(options.shard_size as u64)?;
        CHUNK.check(options.minimal_trace_chunk_threshold)?;
        CHUNK_SLOTS.check(options.trace_chunk_slots as u64)?;
        MEMORY.check(options.memory_limit)?;
        Ok(Self { origin: Origin::Set, options })
    }

    /// SP1's defaults, changed by the variables that SP1 itself reads.
    ///
    /// # Errors
    /// When a variable is no number or out of range; SP1 would ignore it or stop.
    pub fn from_environment() -> Result<Self, OptionsError> {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// As [`CutOptions::from_environment`], with the variables given.
    ///
    /// # Errors
    /// When a variable is no number or out of range.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, OptionsError> {
        let size = |number: u64| usize::try_from(number).expect("bounded far below");
        let is_set = variable(ELEMENTS.name).is_some_and(|value| !ELEMENTS.is_auto(&value));
        let origin = if is_set { Origin::Set } else { Origin::Auto };
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
            // Only estimating gas uses these, with SP1's own values.
            ..SP1CoreOpts::default()
        };
        Ok(Self { origin, options })
    }

    /// As they travel.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("options are serializable")
    }

    /// The same text for the same options, unlike [`CutOptions::encode`], which writes a set in whatever order it has.
    pub(crate) fn canonical(&self) -> String {
        let Self { mut options, .. } = self.clone();
        let presets = std::mem::take(&mut options.retained_events_presets);
        let mut presets: Vec<String> = presets.into_iter().map(|preset| format!("{preset:?}")).collect();
        presets.sort();
        let options = serde_json::to_string(&options).expect("options are serializable");
        format!("{presets:?} {options}")
    }

    /// From what came over the wire.
    ///
    /// # Errors
    /// When the text is no options, or one of them is out of range.
    pub fn decode(text: &str) -> Result<Self, OptionsError> {
        let Self { origin, options } =
            serde_json::from_str(text).map_err(|error| OptionsError::Decode(error.to_string()))?;
        Ok(Self { origin, ..Self::from_sp1(options)? })
    }

    /// True if the memory of the workers decides how large shards are.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.origin == Origin::Auto
    }

    /// Cells after which a shard ends.
    pub(crate) fn threshold(&self) -> u64 {
        self.options.sharding_threshold.element_threshold
    }

    /// The same with another number of cells, which the controller has chosen.
    pub(crate) fn chosen(mut self, threshold: u64) -> Self {
        self.origin = Origin::Chosen;
        self.options.sharding_threshold.element_threshold = threshold;
        self
    }

    /// The same with the next smaller number of cells that may be chosen; `None` if there is none, or if whoever made
    /// the options has set it.
    pub(crate) fn smaller(&self) -> Option<Self> {
        let smaller = smaller_cut(self.threshold()).filter(|_| self.origin == Origin::Chosen);
        smaller.map(|threshold| self.clone().chosen(threshold))
    }

    /// How people set the number of cells after which a shard ends.
    pub(crate) fn threshold_name(&self) -> String {
        format!("{}={}", ELEMENTS.name, self.threshold())
    }

    /// Checks that a shard of this size has room for `program` and for one event of every precompile: SP1 stops where
    /// it has not.
    ///
    /// # Errors
    /// When it has not.
    pub(crate) async fn check_for(&self, program: ProgramSize) -> Result<(), ProofFailure> {
        let options = self.options.clone();
        let fits = move || {
            let split = SplitOpts::new(&options, program.instructions, program.untrusted);
            let provable = |code: &SyscallCode| code.should_send() != 0 && code.as_air_id().is_some();
            split.syscall_threshold.iter().all(|(code, threshold)| *threshold > 0 || !provable(&code))
        };
        // It asserts on what does not fit.
        let fits = tokio::task::spawn_blocking(move || catch_unwind(AssertUnwindSafe(fits)).unwrap_or(false)).await;
        if fits.unwrap_or(false) {
            return Ok(());
        }
        let name = self.threshold_name();
        Err(ProofFailure::Request(format!("the program does not fit into shards of {name}; raise it")))
    }

    pub(crate) fn as_sp1(&self) -> &SP1CoreOpts {
        &self.options
    }
}
