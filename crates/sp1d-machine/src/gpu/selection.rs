//! Which GPUs a worker uses.

use super::{
    fault::GpuFault,
    library::{GpuDevice, MAX_GPUS},
};
use std::{collections::BTreeSet, str::FromStr};

/// The GPUs that a worker uses: `all`, or their numbers separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuSelection {
    /// All GPUs of the machine.
    All,
    /// The GPUs with these numbers.
    Numbers(BTreeSet<u32>),
}

/// A selection of GPUs is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a number of a GPU; write `all`, or numbers below {MAX_GPUS} separated by commas, for example 0,1"
)]
pub struct GpuSelectionError(String);

impl FromStr for GpuSelection {
    type Err = GpuSelectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        let number = |part: &str| match part.trim().parse() {
            Ok(number) if number < MAX_GPUS => Ok(number),
            _ => Err(GpuSelectionError(part.to_owned())),
        };
        Ok(Self::Numbers(text.split(',').map(number).collect::<Result<_, _>>()?))
    }
}

impl GpuSelection {
    /// Returns the selected ones of `devices`.
    ///
    /// # Errors
    /// Fails if a selected GPU does not exist.
    pub fn choose(&self, devices: Vec<GpuDevice>) -> Result<Vec<GpuDevice>, GpuFault> {
        let Self::Numbers(numbers) = self else { return Ok(devices) };
        let exists = |number: &u32| devices.iter().any(|device| device.index == *number);
        if let Some(index) = numbers.iter().find(|number| !exists(number)) {
            return Err(GpuFault::UnknownDevice { index: *index, count: devices.len() });
        }
        Ok(devices.into_iter().filter(|device| numbers.contains(&device.index)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(count: u32) -> Vec<GpuDevice> {
        let device = |index| GpuDevice {
            index,
            uuid: format!("GPU-{index}"),
            model: "a GPU".to_owned(),
            memory_bytes: 24 << 30,
            capability: (8, 9),
            pci_address: format!("0000:0{index}:00.0"),
            processes: Vec::new(),
        };
        (0..count).map(device).collect()
    }

    /// Selects from a machine with `count` GPUs. `expected` are the numbers of the selected ones.
    #[track_caller]
    fn check(text: &str, count: u32, expected: Result<&[u32], GpuFault>) {
        let chosen = text.parse::<GpuSelection>().unwrap().choose(devices(count));
        let numbers = chosen.map(|devices| devices.iter().map(|device| device.index).collect::<Vec<_>>());
        assert_eq!(numbers, expected.map(<[u32]>::to_vec));
    }

    #[test]
    fn gpus_are_selected_by_number() {
        check("all", 3, Ok(&[0, 1, 2]));
        check("2,0", 3, Ok(&[0, 2]));
        check("1, 1", 3, Ok(&[1]));
        check("0,3", 3, Err(GpuFault::UnknownDevice { index: 3, count: 3 }));
    }

    #[test]
    fn malformed_selections_are_refused() {
        for text in ["", "a", "0,", "-1", "64", "0;1", "All"] {
            let error = text.parse::<GpuSelection>().unwrap_err().to_string();
            assert!(error.contains("write `all`, or numbers below 64"), "{error}");
        }
    }
}
