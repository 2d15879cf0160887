//! A control group for each execution, where this process may create control groups.
//!
//! ```text
//!   sp1d-serve.service            delegated to this process by systemd
//!   ├── service                   this process
//!   ├── execution-4711-0          the child of an execution
//!   └── execution-4711-1
//! ```
//!
//! Only groups that systemd has marked as delegated are changed, so that a process with root rights does not change the
//! groups of the system. Version 1 of control groups is not used.

use super::child_limits::GroupLimits;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Where systemd mounts the control groups.
const MOUNT: &str = "/sys/fs/cgroup";

/// The control group of one execution. Dropping it kills the processes of the group and removes it, in the background
/// if that takes time.
#[derive(Debug)]
pub(crate) struct ExecutionGroup {
    folder: PathBuf,
}

impl ExecutionGroup {
    /// Creates a group for one execution. Returns `None` if this process may not create groups.
    pub(super) fn create(limits: GroupLimits) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parent = group_parent(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
        let parent = Path::new(MOUNT).join(parent);
        if !is_delegated(&parent) {
            return None;
        }
        let name = format!("execution-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        match Self::create_in(&parent, &name, limits) {
            Ok(group) => Some(group),
            Err(error) => {
                tracing::debug!(%error, "cannot create a control group for an execution");
                None
            }
        }
    }

    /// Creates the group `name` in the folder of its parent group.
    ///
    /// # Errors
    /// Fails if the group cannot be created, or if its limits cannot be set.
    pub(crate) fn create_in(parent: &Path, name: &str, limits: GroupLimits) -> io::Result<Self> {
        fs::write(parent.join("cgroup.subtree_control"), "+memory +pids")?;
        let folder = parent.join(name);
        fs::create_dir(&folder)?;
        // From here on, dropping the value removes the folder.
        let group = Self { folder };
        fs::write(group.folder.join("memory.max"), limits.memory_bytes.to_string())?;
        fs::write(group.folder.join("pids.max"), limits.processes.to_string())?;
        // Without this limit, the memory of the program would go to the swap space instead. A kernel without swap
        // accounting does not have the file.
        let _ = fs::write(group.folder.join("memory.swap.max"), "0");
        Ok(group)
    }

    /// Moves the process `child` into the group.
    ///
    /// # Errors
    /// Fails if the process does not exist, or if this process may not move it.
    pub(crate) fn add(&self, child: i32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), child.to_string())
    }

    /// Returns true if the kernel has killed a process of the group because of the group's memory limit.
    #[must_use]
    pub(crate) fn was_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events"));
        // The kernel also counts the kills of a machine, or of a group above, that has no memory left. It counts `oom`
        // only in the group that has reached its limit, and in the groups above that one.
        events.is_ok_and(|events| event_count(&events, "oom ") > 0 && event_count(&events, "oom_kill ") > 0)
    }
}

impl Drop for ExecutionGroup {
    fn drop(&mut self) {
        match fs::remove_dir(&self.folder) {
            // A killed child with gigabytes of memory takes some time to end. It may also not be killed yet.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let folder = std::mem::take(&mut self.folder);
                let outcome = thread::Builder::new().name("control-group".to_owned()).spawn(move || {
                    remove_later(|| fs::remove_dir(&folder), &folder);
                });
                if let Err(error) = outcome {
                    tracing::debug!(%error, "cannot start a thread that removes a control group");
                }
            }
            Err(error) => {
                let folder = self.folder.display();
                tracing::debug!(%folder, %error, "cannot remove the control group of an execution");
            }
            Ok(()) => {}
        }
    }
}

/// Kills what runs in the group `folder`, and calls `remove` until the group is gone. Blocks.
pub(crate) fn remove_later(mut remove: impl FnMut() -> io::Result<()>, folder: &Path) {
    const INTERVAL: Duration = Duration::from_millis(50);
    const MAX_TRIES: u32 = 200;
    // Old kernels do not have the file.
    let _ = File::options().write(true).open(folder.join("cgroup.kill")).and_then(|mut file| file.write_all(b"1"));
    for _ in 0..MAX_TRIES {
        thread::sleep(INTERVAL);
        match remove() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "cannot remove the control group of an execution");
                return;
            }
        }
    }
    tracing::warn!(folder = %folder.display(), "the control group of an execution still has processes");
}

/// Returns the group above the own group, relative to the mount. `groups` is the content of `/proc/self/cgroup`.
/// Returns `None` if the own group has no parent, or is not visible from here.
#[must_use]
pub(crate) fn group_parent(groups: &str) -> Option<PathBuf> {
    let own = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::/"))?);
    let is_plain = own.components().all(|part| matches!(part, Component::Normal(_)));
    own.parent().filter(|parent| is_plain && !parent.as_os_str().is_empty()).map(Path::to_owned)
}

/// Returns true if systemd has delegated the group to this process. It marks such groups with an attribute.
fn is_delegated(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|attribute| {
        let mut value = [0_u8; 8];
        let length = rustix::fs::getxattr(group, attribute, &mut value);
        length.is_ok_and(|length| value.get(..length) == Some(b"1".as_slice()))
    })
}

/// Returns the number after `name` in the content of `memory.events`. `name` ends with a space.
fn event_count(events: &str, name: &str) -> u64 {
    let count = events.lines().find_map(|line| line.strip_prefix(name));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
