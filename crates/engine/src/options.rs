//! Options that decide how a run is cut into shards.

use orchestrator::ProofFailure;
use sp1_core_executor::{
    ELEMENT_THRESHOLD, HEIGHT_THRESHOLD, MINIMAL_TRACE_CHUNK_THRESHOLD, Program, RetainedEventsPreset, SP1CoreOpts,
    ShardingThreshold, SplitOpts, SyscallCode,
};
use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// How a run is cut. Made once, on the orchestrator, and sent with every task: the side that cuts and the side that traces again
/// must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOptions(SP1CoreOpts);

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
    /// Smallest that works.
    pub least: u64,
    /// Largest that works.
    pub most: u64,
    /// What it does, and its unit.
    pub meaning: &'static str,
}

/// Below the fixed tables (a million elements, and seventeen for each of the program's instructions) SP1 asserts; above the default a shard no longer fits the circuits.
const ELEMENTS: CutOption = CutOption {
    name: "ELEMENT_THRESHOLD",
    default: ELEMENT_THRESHOLD,
    least: 1 << 25,
    most: ELEMENT_THRESHOLD,
    meaning: "trace elements after which a shard ends: smaller shards need less memory and cost more in all",
};
const HEIGHT: CutOption = CutOption {
    name: "HEIGHT_THRESHOLD",
    default: HEIGHT_THRESHOLD,
    least: 1 << 16,
    most: HEIGHT_THRESHOLD,
    meaning: "rows of one table after which a shard ends",
};
/// SP1's own default, which it does not export.
const SHARD_SIZE: CutOption = CutOption {
    name: "SHARD_SIZE",
    default: 1 << 24,
    least: 1 << 14,
    most: 1 << 24,
    meaning: "cycles after which a shard ends",
};
const CHUNK: CutOption = CutOption {
    name: "MINIMAL_TRACE_CHUNK_THRESHOLD",
    default: MINIMAL_TRACE_CHUNK_THRESHOLD,
    least: 1 << 14,
    most: 1 << 27,
    meaning: "memory accesses after which the executor hands over a chunk of its trace",
};
/// The executor waits for a free slot; with one it could not run ahead of whoever reads.
const CHUNK_SLOTS: CutOption = CutOption {
    name: "TRACE_CHUNK_SLOTS",
    default: 5,
    least: 2,
    most: 64,
    meaning: "chunks that the executor may be ahead",
};
const MEMORY: CutOption = CutOption {
    name: "MEMORY_LIMIT",
    default: 24 << 30,
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

    fn read(&self, variable: impl Fn(&str) -> Option<String>) -> Result<u64, OptionsError> {
        match variable(self.name) {
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
        Ok(Self(options))
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
        Ok(Self(SP1CoreOpts {
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
        }))
    }

    /// As they travel.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(&self.0).expect("options are serialisable")
    }

    /// The same text for the same options, unlike [`CutOptions::encode`], which writes a set in whatever order it has.
    pub(crate) fn canonical(&self) -> String {
        let mut options = self.0.clone();
        let presets = std::mem::take(&mut options.retained_events_presets);
        let mut presets: Vec<String> = presets.into_iter().map(|preset| format!("{preset:?}")).collect();
        presets.sort();
        format!("{presets:?} {}", Self(options).encode())
    }

    /// From what came over the wire.
    ///
    /// # Errors
    /// When the text is no options, or one of them is out of range.
    pub fn decode(text: &str) -> Result<Self, OptionsError> {
        let options: SP1CoreOpts =
            serde_json::from_str(text).map_err(|error| OptionsError::Decode(error.to_string()))?;
        Self::from_sp1(options)
    }

    /// Checks that a shard of this size has room for `program` and for one event of every precompile: SP1 stops where it has not.
    ///
    /// # Errors
    /// When it has not.
    pub(crate) async fn check_for(&self, program: &[u8]) -> Result<(), ProofFailure> {
        let (options, program) = (self.0.clone(), program.to_vec());
        let fits = move || {
            let Ok(program) = Program::from(&program) else { return false };
            let split = SplitOpts::new(&options, program.instructions.len(), program.enable_untrusted_programs);
            let provable = |code: &SyscallCode| code.should_send() != 0 && code.as_air_id().is_some();
            split.syscall_threshold.iter().all(|(code, threshold)| *threshold > 0 || !provable(&code))
        };
        // It asserts on what does not fit.
        let fits = tokio::task::spawn_blocking(move || catch_unwind(AssertUnwindSafe(fits)).unwrap_or(false)).await;
        if fits.unwrap_or(false) {
            return Ok(());
        }
        let (threshold, name) = (self.0.sharding_threshold.element_threshold, ELEMENTS.name);
        Err(ProofFailure::Request(format!("the program does not fit into shards of {name}={threshold}; raise it")))
    }

    pub(crate) fn as_sp1(&self) -> &SP1CoreOpts {
        &self.0
    }
}
