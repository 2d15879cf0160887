//! Which GPUs a worker uses.

use super::{
    fault::GpuFault,
    library::{FoundGpus, GpuDevice, MAX_GPUS},
};
use std::{collections::BTreeSet, str::FromStr};

/// The GPUs that a worker uses: `all`, or their numbers separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuSelection {
    /// All GPUs of the machine that work. If `CUDA_VISIBLE_DEVICES` is set, as job schedulers do, only those that it
    /// names.
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
    /// Returns the selected ones of `found`.
    ///
    /// # Errors
    /// Fails if a selected GPU does not exist or does not work, or if `CUDA_VISIBLE_DEVICES` names GPUs in an unclear
    /// way.
    pub fn choose(&self, found: FoundGpus) -> Result<Vec<GpuDevice>, GpuFault> {
        let variable = |name: &str| std::env::var(name).ok();
        let has_bus_order = variable("CUDA_DEVICE_ORDER").is_some_and(|order| order == "PCI_BUS_ID");
        self.choose_from(found, variable("CUDA_VISIBLE_DEVICES").as_deref(), has_bus_order)
    }

    /// Returns the GPUs of `found` that do not work and that the selection would otherwise include, with their faults.
    /// Others do not matter to the user: they are not selected, or [`choose`](Self::choose) fails because of them.
    #[must_use]
    pub fn left_out<'a>(&self, found: &'a FoundGpus) -> &'a [(u32, GpuFault)] {
        self.left_out_of(found, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref())
    }

    /// Does the same for a value of CUDA's environment variable.
    fn left_out_of<'a>(&self, found: &'a FoundGpus, visible: Option<&str>) -> &'a [(u32, GpuFault)] {
        match (self, visible) {
            (Self::All, None) => &found.faults,
            (Self::All, Some(_)) | (Self::Numbers(_), _) => &[],
        }
    }

    /// Does the same as [`choose`](Self::choose) for the values of CUDA's environment variables.
    fn choose_from(
        &self,
        found: FoundGpus,
        visible: Option<&str>,
        has_bus_order: bool,
    ) -> Result<Vec<GpuDevice>, GpuFault> {
        let Self::Numbers(numbers) = self else {
            return match visible {
                Some(list) => visible_gpus(found, list, has_bus_order),
                None => Ok(found.devices),
            };
        };
        let FoundGpus { devices, faults } = found;
        if let Some((_, fault)) = faults.iter().find(|(index, _)| numbers.contains(index)) {
            return Err(fault.clone());
        }
        let exists = |number: &u32| devices.iter().any(|device| device.index == *number);
        if let Some(index) = numbers.iter().find(|number| !exists(number)) {
            return Err(GpuFault::UnknownDevice { index: *index, count: devices.len() + faults.len() });
        }
        Ok(devices.into_iter().filter(|device| numbers.contains(&device.index)).collect())
    }
}

/// Returns those of `found` that CUDA shows for `CUDA_VISIBLE_DEVICES` with the value `list`: numbers, and UUIDs or
/// their beginnings.
fn visible_gpus(found: FoundGpus, list: &str, has_bus_order: bool) -> Result<Vec<GpuDevice>, GpuFault> {
    let FoundGpus { devices, faults } = found;
    // CUDA numbers the fastest models first, unless a variable makes it follow the bus as NVML does. A lost GPU may
    // have no number there.
    let has_known_order =
        faults.is_empty() && (has_bus_order || devices.windows(2).all(|pair| pair[0].model == pair[1].model));
    let is_named = |device: &GpuDevice, name: &str| match name.parse::<u32>() {
        Ok(number) => has_known_order && device.index == number,
        Err(_) => name.starts_with("GPU-") && device.uuid.starts_with(name),
    };
    let mut visible = BTreeSet::new();
    for name in list.split(',').map(str::trim) {
        let mut named = devices.iter().filter(|device| is_named(device, name));
        let (Some(device), None) = (named.next(), named.next()) else {
            let lost = faults.iter().map(|(index, _)| *index).collect();
            return Err(GpuFault::VisibleDevices { list: list.to_owned(), lost });
        };
        visible.insert(device.index);
    }
    Ok(devices.into_iter().filter(|device| visible.contains(&device.index)).collect())
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

    /// A machine with `devices`, all of which work.
    fn found(devices: &[GpuDevice]) -> FoundGpus {
        FoundGpus { devices: devices.to_vec(), faults: Vec::new() }
    }

    /// Selects from a machine with `count` GPUs. `expected` are the numbers of the selected ones.
    #[track_caller]
    fn check(text: &str, count: u32, expected: Result<&[u32], GpuFault>) {
        let chosen = text.parse::<GpuSelection>().unwrap().choose_from(found(&devices(count)), None, false);
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

    /// Selects from a machine with three GPUs for a value of `CUDA_VISIBLE_DEVICES`. `expected` are the numbers of the
    /// selected ones; `None` if the value is refused.
    #[track_caller]
    fn check_visible(
        selection: &str,
        list: &str,
        devices: &[GpuDevice],
        has_bus_order: bool,
        expected: Option<&[u32]>,
    ) {
        let selection: GpuSelection = selection.parse().unwrap();
        let chosen = selection.choose_from(found(devices), Some(list), has_bus_order);
        let refused = GpuFault::VisibleDevices { list: list.to_owned(), lost: Vec::new() };
        let numbers = chosen.map(|devices| devices.iter().map(|device| device.index).collect::<Vec<_>>());
        assert_eq!(numbers, expected.map(<[u32]>::to_vec).ok_or(refused), "{list}");
    }

    #[test]
    fn all_gpus_are_those_that_a_job_scheduler_allows() {
        let same = devices(3);
        check_visible("all", "1", &same, false, Some(&[1]));
        check_visible("all", "2, 0", &same, false, Some(&[0, 2]));
        check_visible("all", "GPU-2", &same, false, Some(&[2]));
        for unclear in ["", "3", "-1", "GPU-", "GPU-7", "MIG-GPU-1/0/0", "none", "0,"] {
            check_visible("all", unclear, &same, false, None);
        }
        // The user has chosen.
        check_visible("0,2", "1", &same, false, Some(&[0, 2]));
        let mut different = same;
        different[0].model = "a slow GPU".to_owned();
        check_visible("all", "1", &different, false, None);
        check_visible("all", "1", &different, true, Some(&[1]));
        check_visible("all", "GPU-1", &different, false, Some(&[1]));
    }

    /// A machine with three GPUs, of which the driver has lost the second one.
    fn with_lost() -> FoundGpus {
        let mut machine = found(&devices(3));
        machine.devices.remove(1);
        machine.faults.push((1, GpuFault::Lost("GPU is lost".to_owned())));
        machine
    }

    #[test]
    fn a_lost_gpu_is_left_out_only_if_all_are_selected() {
        let machine = with_lost();
        let left_out = |text: &str, visible| {
            let selection: GpuSelection = text.parse().unwrap();
            selection.left_out_of(&machine, visible).iter().map(|(index, _)| *index).collect::<Vec<_>>()
        };
        assert_eq!(left_out("all", None), [1_u32]);
        assert!(left_out("all", Some("GPU-2")).is_empty());
        assert!(left_out("0,1", None).is_empty());
    }

    /// Selects from this machine. `expected` are the numbers of the selected ones.
    #[track_caller]
    fn check_with_lost(text: &str, visible: Option<&str>, expected: Result<&[u32], GpuFault>) {
        let machine = with_lost();
        let chosen = text.parse::<GpuSelection>().unwrap().choose_from(machine, visible, true);
        let numbers = chosen.map(|devices| devices.iter().map(|device| device.index).collect::<Vec<_>>());
        assert_eq!(numbers, expected.map(<[u32]>::to_vec));
    }

    #[test]
    fn a_lost_gpu_is_refused_by_its_number_only() {
        check_with_lost("all", None, Ok(&[0, 2]));
        check_with_lost("0,2", None, Ok(&[0, 2]));
        check_with_lost("0,1", None, Err(GpuFault::Lost("GPU is lost".to_owned())));
        check_with_lost("3", None, Err(GpuFault::UnknownDevice { index: 3, count: 3 }));
        check_with_lost("all", Some("GPU-2"), Ok(&[2]));
        // CUDA may not count the lost one.
        check_with_lost("all", Some("2"), Err(GpuFault::VisibleDevices { list: "2".to_owned(), lost: vec![1] }));
    }

    #[test]
    fn malformed_selections_are_refused() {
        for text in ["", "a", "0,", "-1", "64", "0;1", "All"] {
            let error = text.parse::<GpuSelection>().unwrap_err().to_string();
            assert!(error.contains("write `all`, or numbers below 64"), "{error}");
        }
    }
}
