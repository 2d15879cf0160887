//! The state of a worker's GPU.

use serde::{Deserialize, Serialize};

/// The state of a GPU that a worker proves on, as it last reported it. A value is absent if the GPU does not report it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GpuState {
    /// Its number on the machine.
    pub index: u32,
    /// Memory that all its processes use, in bytes.
    #[serde(default)]
    pub used_bytes: Option<u64>,
    /// Percentage of the time in which it computed.
    #[serde(default)]
    pub utilization_percent: Option<u32>,
    /// Temperature in degrees Celsius.
    #[serde(default)]
    pub celsius: Option<u32>,
    /// Power in milliwatts.
    #[serde(default)]
    pub milliwatts: Option<u32>,
}
