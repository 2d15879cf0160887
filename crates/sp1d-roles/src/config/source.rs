//! Where the value of a setting comes from.

use super::setting::ConfigSetting;
use std::{env, fmt, path::PathBuf};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// The default: the setting is not set anywhere.
    Default,
    /// The worker list file.
    File(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// The builder in the program, or a flag of a command that does not name its flags.
    Program,
    /// A command line flag, for example `--workers`.
    Flag(String),
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Program => f.write_str("flag or builder"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// The value of a setting, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The setting.
    pub setting: ConfigSetting,
    /// The value.
    pub value: String,
    /// Where the value comes from.
    pub source: ValueSource,
}

/// Returns the value of an environment variable. Invalid Unicode is replaced so that no setting accepts the value.
pub fn environment(variable: &str) -> Option<String> {
    env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
}
