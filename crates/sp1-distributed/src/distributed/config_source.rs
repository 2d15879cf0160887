//! Loads the configuration of a prover.

use super::error::DistributedError;
use sp1_core_executor::SP1CoreOpts;
use sp1d_engine::OptionsError;
use sp1d_roles::config::{Config, ConfigOverrides, environment};

/// Where the configuration of a prover comes from. It is loaded on first use.
#[derive(Default)]
pub(super) struct ConfigSource {
    pub(super) overrides: ConfigOverrides,
    pub(super) cut: Option<SP1CoreOpts>,
    /// True if the client was built with a custom machine.
    pub(super) foreign_machine: bool,
}

impl ConfigSource {
    pub(super) fn load(&self) -> Result<Config, DistributedError> {
        if self.foreign_machine {
            return Err(DistributedError::Machine);
        }
        let mut overrides = self.overrides.clone();
        overrides.allow_service();
        if let Some(options) = &self.cut {
            overrides.cut(options.clone()).map_err(|error: OptionsError| DistributedError::Config(error.into()))?;
        }
        Ok(Config::load(&overrides, environment)?)
    }
}
