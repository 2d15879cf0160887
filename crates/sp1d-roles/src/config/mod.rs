//! Configuration. Precedence: flag or builder, then environment variable, then worker list file, then default. This
//! folder does not connect to anything.

mod error;
mod load;
mod overrides;
mod setting;
mod source;

pub use error::ConfigError;
pub use load::Config;
pub use overrides::ConfigOverrides;
pub use setting::{ConfigSetting, UnacceptedValue, ValueRange, settings};
pub use source::{EffectiveSetting, ValueSource, environment};
pub use sp1d_engine::ReplacedValue;
