//! The cores next to a GPU.

use std::{fs, path::Path};

/// Returns the cores of `allowed` that are next to the device at `pci_address`, in order. Returns all of `allowed` if
/// the kernel does not report the cores, or if none of them is allowed.
#[must_use]
pub fn near_cores(pci_address: &str, allowed: &[u16]) -> Vec<u16> {
    let list = fs::read_to_string(Path::new("/sys/bus/pci/devices").join(pci_address).join("local_cpulist"));
    choose(list.ok().as_deref(), allowed)
}

/// `list` is the content of the kernel's file, for example `0-31,64-95`.
fn choose(list: Option<&str>, allowed: &[u16]) -> Vec<u16> {
    let Some(ranges) = list.and_then(parse) else { return allowed.to_vec() };
    let near: Vec<u16> =
        allowed.iter().copied().filter(|core| ranges.iter().any(|(from, to)| (*from..=*to).contains(core))).collect();
    if near.is_empty() { allowed.to_vec() } else { near }
}

/// Returns the ranges of a list of cores; `None` if it is malformed.
fn parse(list: &str) -> Option<Vec<(u16, u16)>> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    list.trim().split(',').filter(|part| !part.is_empty()).map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: Option<&str>, expected: &[u16]) {
        assert_eq!(choose(list, &[0, 1, 2, 3, 8, 9]), expected);
    }

    #[test]
    fn a_prover_runs_on_the_cores_next_to_its_gpu() {
        check(Some("2-8\n"), &[2, 3, 8]);
        check(Some("0,2,9\n"), &[0, 2, 9]);
        check(Some("0-1,8-15\n"), &[0, 1, 8, 9]);
    }

    #[test]
    fn all_cores_are_used_if_the_near_ones_are_unknown() {
        let all = [0, 1, 2, 3, 8, 9];
        check(None, &all);
        check(Some("\n"), &all);
        check(Some("32-63\n"), &all);
        check(Some("two"), &all);
        check(Some("1-x"), &all);
        check(Some("0-99999"), &all);
    }

    #[test]
    fn an_unknown_device_has_no_near_cores() {
        assert_eq!(near_cores("ffff:ff:1f.7", &[4, 5]), [4, 5]);
    }
}
