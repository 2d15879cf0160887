//! The memory that this process can use, and the kernel's out-of-memory kills, as plain values.

/// The memory that this process can use. Each value is the smallest among the machine and the control groups of this
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that are free or that the kernel can free on demand.
    pub available_bytes: u64,
    /// All bytes, whether free or in use.
    pub total_bytes: u64,
}

/// The number of processes that the kernel has killed because memory ran out, at one moment. To find the cause of a
/// SIGKILL, read the counters before and after it.
///
/// The kernel counts a kill before it sends the signal. So the count is complete when the parent sees the process end.
///
/// The counters do not show which process was killed. They do not count kills by other programs, such as systemd-oomd,
/// earlyoom or `kill -9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomKills {
    /// Kills in the control group of this process, whether the group or the whole machine ran out of memory. In version
    /// 2 of control groups, this includes descendant groups. It never includes sibling groups. If the group has no
    /// counter, this is the counter of its nearest ancestor that has one. `None` if no group has a counter: the memory
    /// controller is not in use, or the kernel is older than 4.13.
    pub group: Option<u64>,
    /// Kills on the whole machine, including other containers.
    pub machine: Option<u64>,
}

impl OomKills {
    /// Returns the number of kills since `before` in the control group, if both values have its counter. Otherwise
    /// returns the number of kills on the whole machine, where the killed process may belong to another program.
    /// Returns 0 if neither counter is known.
    #[must_use]
    pub fn since(self, before: Self) -> u64 {
        let new = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        new(self.group, before.group).or_else(|| new(self.machine, before.machine)).unwrap_or(0)
    }
}

impl Memory {
    /// Returns the smaller value of each field.
    pub(crate) fn smaller(self, other: Self) -> Self {
        Self {
            available_bytes: self.available_bytes.min(other.available_bytes),
            total_bytes: self.total_bytes.min(other.total_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_in_the_control_group_take_precedence() {
        let kills = |group, machine| OomKills { group, machine };
        // Columns: counters now, counters before, expected number of kills.
        let cases = [
            (kills(Some(3), Some(9)), kills(Some(2), Some(5)), 1),
            (kills(Some(2), Some(9)), kills(Some(2), Some(5)), 0),
            (kills(None, Some(9)), kills(None, Some(5)), 4),
            (kills(Some(3), Some(9)), kills(None, Some(5)), 4),
            (kills(Some(3), None), kills(None, Some(5)), 0),
            (kills(Some(1), None), kills(Some(2), None), 0),
        ];
        for (now, before, expected) in cases {
            assert_eq!(now.since(before), expected, "{now:?} after {before:?}");
        }
    }
}
