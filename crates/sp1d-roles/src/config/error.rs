//! Errors of a configuration.

use sp1d_orchestrator::ListError;
use sp1d_protocol::AddressError;
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The worker list cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// The address of a worker in the program's list is invalid.
    #[error("invalid address of worker {number} of the program's list: {reason}")]
    Worker {
        /// Position in the list, starting at 1.
        number: usize,
        /// What is wrong with the address.
        reason: AddressError,
    },
    /// The value of a setting is invalid.
    #[error("invalid setting {name} = {value:?} (from {source_text}): {reason}")]
    Setting {
        /// Name of the setting.
        name: String,
        /// The invalid value.
        value: String,
        /// Where the value comes from.
        source_text: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// The worker list file contains an unknown setting.
    #[error("unknown setting {name:?} in {}\nhint: use one of {known}", path.display())]
    Unknown {
        /// The worker list file.
        path: PathBuf,
        /// Name of the unknown setting.
        name: String,
        /// The known settings, separated by commas.
        known: String,
    },
    /// The identity of the setting `tls` cannot be used.
    #[error(transparent)]
    Keys(#[from] sp1d_identity::KeysError),
    /// The options that cut a run into shards cannot be used by workers.
    #[error("invalid option for cutting a run into shards: {0}")]
    Options(#[from] sp1d_engine::OptionsError),
}
