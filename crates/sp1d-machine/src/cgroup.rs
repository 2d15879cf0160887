//! Linux control groups: the memory limits of this process's group and of its ancestors, and the kernel's out-of-memory
//! kills.
//!
//! ```text
//!   /proc/self/cgroup     position of this process's group in the tree ─┐
//!   /proc/self/mountinfo  which part of the tree is mounted where ──────┴─► folders of the group and its ancestors
//!                                                                            │
//!                              smallest limit, smallest available bytes ◄────┘  limit, use and page cache of each
//! ```
//!
//! Control groups have two versions, see cgroups(7), and a machine can have both mounted. Only one of the two has the
//! memory controller. This module reads both: a folder without the controller's files has no limit.
//!
//! This module opens no files itself and does not read the machine's own memory. A container with its own namespace
//! does not see the groups above the container, so their limits stay unknown.
//!
//! In this module, "own group" means the control group of this process.

use crate::memory::Memory;
use std::{
    iter,
    path::{Component, Path, PathBuf},
};

/// A function that returns the text of a file, or `None` if the file cannot be read.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// Maximum number of mounts that are used. A machine has one or two relevant mounts, and the system's mounts come
/// first.
const MAX_MOUNTS: usize = 16;

/// Maximum number of nested groups that are read, from the own group upwards. Kubernetes nests about ten groups.
const MAX_GROUPS: usize = 64;

/// Limits from this value on mean "no limit". For a group without a limit, version 1 shows 2^63 rounded down to whole
/// pages; older kernels show up to 2^64 - 1. No machine has as much memory as this constant.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// Returns the smallest limit and the smallest available bytes among the own group and its ancestors. `None` if no
/// limit is visible.
pub(crate) fn memory(read: ReadFile<'_>) -> Option<Memory> {
    ancestries(read).iter().filter_map(|ancestry| ancestry.memory(read)).reduce(Memory::smaller)
}

/// Returns the out-of-memory kills that the kernel has counted for the own group, or for its nearest ancestor that has
/// a counter. `None` if no group has a counter.
pub(crate) fn oom_kills(read: ReadFile<'_>) -> Option<u64> {
    ancestries(read)
        .iter()
        .find_map(|ancestry| ancestry.folders.iter().find_map(|folder| ancestry.version.oom_kills(folder, read)))
}

fn ancestries(read: ReadFile<'_>) -> Vec<Ancestry> {
    let text = |path: &str| read(Path::new(path)).unwrap_or_default();
    parse_ancestries(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"))
}

/// The version of a control group hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CgroupVersion {
    V1,
    V2,
}

/// The own group and its ancestors, as one mount shows them.
#[derive(Debug, PartialEq, Eq)]
struct Ancestry {
    version: CgroupVersion,
    /// The folders, from the own group upwards. A folder may not exist, because `/proc/self/cgroup` in a container can
    /// show a path on the machine that the container's mount does not have.
    folders: Vec<PathBuf>,
}

/// A mounted hierarchy that may have the memory controller.
#[derive(Debug, PartialEq, Eq)]
struct CgroupMount {
    version: CgroupVersion,
    /// The path of the group that is at the mount point.
    root: PathBuf,
    /// The mount point.
    point: PathBuf,
}

impl Ancestry {
    fn memory(&self, read: ReadFile<'_>) -> Option<Memory> {
        let [own, parents @ ..] = self.folders.as_slice() else { return None };
        let binding = parents.iter().take_while(|parent| self.version.binds_children(parent, read));
        iter::once(own).chain(binding).filter_map(|folder| self.version.memory(folder, read)).reduce(Memory::smaller)
    }
}

impl CgroupVersion {
    /// Returns the limit and the available bytes of one group. `None` if the group has no limit.
    fn memory(self, folder: &Path, read: ReadFile<'_>) -> Option<Memory> {
        let file = |name: &str| read(&folder.join(name));
        let number = |name: &str| -> Option<u64> { file(name)?.trim().parse().ok() };
        let (limits, used_bytes) = match self {
            Self::V1 => {
                // This value includes the limits of ancestors that the mount does not show.
                let hierarchical = file("memory.stat").and_then(|stat| field(&stat, "hierarchical_memory_limit"));
                ([number("memory.limit_in_bytes"), hierarchical], number("memory.usage_in_bytes"))
            }
            // Above memory.high, the kernel slows the group down so much that proving stops. So memory.high counts as a
            // limit, like memory.max.
            Self::V2 => ([number("memory.max"), number("memory.high")], number("memory.current")),
        };
        let total_bytes = limits.into_iter().flatten().filter(|limit| *limit < NO_LIMIT_BYTES).min()?;
        // If the use cannot be read, the limit still bounds the available bytes.
        let used_bytes = used_bytes.unwrap_or(0);
        let reclaimable_bytes = self.reclaimable_bytes(&file("memory.stat").unwrap_or_default());
        let available_bytes = total_bytes.saturating_sub(used_bytes.saturating_sub(reclaimable_bytes));
        Some(Memory { available_bytes, total_bytes })
    }

    /// Returns the page cache that the kernel drops before it kills a process: the cache on the inactive list.
    ///
    /// Lazily freed memory (`MADV_FREE`) is on the inactive list too, even if the process uses it again. The active and
    /// the inactive list together are larger than the cache by these pages. So the cache on the inactive list is at
    /// most the whole cache minus the active list. The machine's memory is counted the same way.
    fn reclaimable_bytes(self, stat: &str) -> u64 {
        // In version 1, the names without `total_` leave out the descendant groups, which the use includes.
        let (inactive, active, cache, shared) = match self {
            Self::V1 => ("total_inactive_file", "total_active_file", "total_cache", "total_shmem"),
            Self::V2 => ("inactive_file", "active_file", "file", "shmem"),
        };
        let bytes = |name: &str| field(stat, name).unwrap_or(0);
        // The kernel always writes the size of the cache. If it is missing anyway, only the inactive list counts.
        let cache_bytes = field(stat, cache).unwrap_or(u64::MAX);
        // Shared memory counts as cache, but is on other lists.
        bytes(inactive).min(cache_bytes.saturating_sub(bytes(shared)).saturating_sub(bytes(active)))
    }

    /// Returns true if the limit of the group also holds for its descendant groups.
    fn binds_children(self, folder: &Path, read: ReadFile<'_>) -> bool {
        match self {
            Self::V1 => read(&folder.join("memory.use_hierarchy")).is_none_or(|text| text.trim() != "0"),
            Self::V2 => true,
        }
    }

    /// Returns the kills of one group. Version 2 includes kills in descendant groups; version 1 counts only the group's
    /// own processes.
    fn oom_kills(self, folder: &Path, read: ReadFile<'_>) -> Option<u64> {
        let file = match self {
            Self::V1 => "memory.oom_control",
            Self::V2 => "memory.events",
        };
        field(&read(&folder.join(file))?, "oom_kill")
    }
}

/// Returns the number of `name` in a file with lines of the form `NAME NUMBER`.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Returns the own group and its ancestors, once for each mount that shows them differently. Several mounts show the
/// same groups or fewer of them, so the smallest limit over all mounts is correct.
fn parse_ancestries(groups: &str, mounts: &str) -> Vec<Ancestry> {
    let mut found: Vec<Ancestry> = Vec::new();
    for mount in mounts.lines().filter_map(parse_mount) {
        let Some(group) = own_group(groups, mount.version) else { continue };
        let Some(names) = path_below(Path::new(group), &mount.root) else { continue };
        let folders = names.ancestors().take(MAX_GROUPS).map(|names| mount.point.join(names)).collect();
        let ancestry = Ancestry { version: mount.version, folders };
        if !found.contains(&ancestry) {
            found.push(ancestry);
        }
        if found.len() == MAX_MOUNTS {
            break;
        }
    }
    found
}

/// Returns the path of the own group from `/proc/self/cgroup`. Its lines have the form `HIERARCHY:CONTROLLERS:PATH`,
/// see cgroups(7).
fn own_group(groups: &str, version: CgroupVersion) -> Option<&str> {
    groups.lines().find_map(|line| {
        // A path may contain colons.
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_wanted = match version {
            CgroupVersion::V1 => controllers.split(',').any(|name| name == "memory"),
            CgroupVersion::V2 => hierarchy == "0" && controllers.is_empty(),
        };
        is_wanted.then_some(path)
    })
}

/// Parses a line of mountinfo: `ID PARENT DEVICE ROOT POINT OPTIONS [TAG …] - TYPE SOURCE SUPER_OPTIONS`, see
/// `proc_pid_mountinfo(5)`. Returns `None` for a mount that cannot have the memory controller.
fn parse_mount(line: &str) -> Option<CgroupMount> {
    let (place, filesystem) = line.split_once(" - ")?;
    let (kind, source) = filesystem.split_once(' ')?;
    let version = match kind {
        "cgroup" => {
            let (_, options) = source.split_once(' ')?;
            options.split(',').any(|option| option == "memory").then_some(CgroupVersion::V1)?
        }
        "cgroup2" => CgroupVersion::V2,
        _ => return None,
    };
    let mut fields = place.split(' ').skip(3);
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    Some(CgroupMount { version, root: root.into(), point: point.into() })
}

/// Replaces the escapes of mountinfo: white space and backslashes are written as a backslash and three octal digits.
/// Names of systemd units can contain backslashes.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part.split_at_checked(3).and_then(|(digits, rest)| {
            let byte = u8::from_str_radix(digits, 8).ok().filter(u8::is_ascii)?;
            Some((char::from(byte), rest))
        });
        let (character, rest) = escaped.unwrap_or(('\\', part));
        plain.push(character);
        plain.push_str(rest);
    }
    plain
}

/// Returns the path of `group` relative to a mount that has the group `root` at its mount point. `None` if the mount
/// does not show `group`.
///
/// The kernel writes both paths relative to the namespace of this process, see `cgroup_namespaces(7)`. Paths of groups
/// outside the namespace start with `/..`.
fn path_below(group: &Path, root: &Path) -> Option<PathBuf> {
    match group.strip_prefix(root) {
        Ok(names) => names.components().all(is_name).then(|| names.to_owned()),
        // If the root consists only of `..`, and has more of them than the group, it is an ancestor of the group. The
        // names between the two are unknown, so the walk starts at the ancestor.
        Err(_) => (!root.components().any(is_name)).then(PathBuf::new),
    }
}

fn is_name(part: Component<'_>) -> bool {
    matches!(part, Component::Normal(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mounts of a machine that has only version 2.
    const V2: &str = "23 28 0:21 / /proc rw shared:5 - proc proc rw\n\
                      30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    /// Mounts of a machine with version 1.
    const V1: &str = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
    const UNIFIED: &str = "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    /// The contents of `/proc/self/cgroup` and `/proc/self/mountinfo`.
    #[derive(Clone, Copy)]
    struct Place {
        groups: &'static str,
        mounts: &'static str,
    }

    /// The group of a service on a machine with version 2.
    const SERVICE_V2: Place = Place { groups: "0::/system.slice/sp1d.service\n", mounts: V2 };
    /// The group of a service on a machine with version 1.
    const SERVICE_V1: Place = Place { groups: "5:cpu,cpuacct:/\n4:memory:/outer/inner\n0::/other\n", mounts: V1 };

    fn read_from<'a>(place: Place, files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> + 'a {
        move |path: &Path| {
            let all = [("/proc/self/cgroup", place.groups), ("/proc/self/mountinfo", place.mounts)];
            let (_, text) = all.iter().chain(files).find(|(name, _)| Path::new(name) == path)?;
            Some((*text).to_owned())
        }
    }

    /// `expected` has the available and the total bytes.
    #[track_caller]
    fn check_memory(place: Place, files: &[(&str, &str)], expected: Option<(u64, u64)>) {
        let found = memory(&read_from(place, files));
        assert_eq!(found.map(|memory| (memory.available_bytes, memory.total_bytes)), expected);
    }

    #[track_caller]
    fn check_oom_kills(place: Place, files: &[(&str, &str)], expected: Option<u64>) {
        assert_eq!(oom_kills(&read_from(place, files)), expected);
    }

    #[track_caller]
    fn check_path_below(group: &str, root: &str, expected: Option<&str>) {
        assert_eq!(path_below(Path::new(group), Path::new(root)).as_deref(), expected.map(Path::new));
    }

    #[test]
    fn a_machine_without_control_groups_has_no_limit() {
        check_memory(Place { groups: "", mounts: "" }, &[], None);
        check_memory(Place { groups: "", ..SERVICE_V2 }, &[("/sys/fs/cgroup/memory.max", "5000\n")], None);
        check_memory(Place { mounts: "", ..SERVICE_V2 }, &[("/sys/fs/cgroup/memory.max", "5000\n")], None);
        check_memory(SERVICE_V2, &[], None);
    }

    #[test]
    fn the_limit_of_the_own_group_is_read() {
        let max = |text| ("/sys/fs/cgroup/system.slice/sp1d.service/memory.max", text);
        let high = |text| ("/sys/fs/cgroup/system.slice/sp1d.service/memory.high", text);
        let current = ("/sys/fs/cgroup/system.slice/sp1d.service/memory.current", "7000\n");
        let stat = |text| ("/sys/fs/cgroup/system.slice/sp1d.service/memory.stat", text);
        let cache = stat("anon 5\nfile 2500\nshmem 0\ninactive_file 2000\nactive_file 500\n");
        check_memory(SERVICE_V2, &[max("10000\n"), high("max\n"), current, cache], Some((5000, 10000)));
        check_memory(SERVICE_V2, &[max("max\n"), high("8000\n"), current, cache], Some((3000, 8000)));
        check_memory(SERVICE_V2, &[max("10000\n"), high("8000\n"), current, cache], Some((3000, 8000)));
        check_memory(SERVICE_V2, &[max("4000\n"), high("max\n"), current, cache], Some((0, 4000)));
        check_memory(SERVICE_V2, &[max("max\n"), high("max\n"), current, cache], None);
        // Without the size of the cache, only the inactive list counts.
        check_memory(SERVICE_V2, &[max("10000\n"), current, stat("anon 5\ninactive_file 2000\n")], Some((5000, 10000)));
        check_memory(SERVICE_V2, &[max("10000\n"), current], Some((3000, 10000)));
        check_memory(SERVICE_V2, &[max("10000\n"), cache], Some((10000, 10000)));
    }

    #[test]
    fn lazily_freed_and_shared_memory_is_not_reclaimable() {
        let limit = ("/sys/fs/cgroup/system.slice/sp1d.service/memory.max", "10000\n");
        let current = ("/sys/fs/cgroup/system.slice/sp1d.service/memory.current", "7000\n");
        let stat = |text| ("/sys/fs/cgroup/system.slice/sp1d.service/memory.stat", text);
        // The lists have 3500 bytes, of which 1500 are cache and 2000 are lazily freed. 1000 bytes of the cache are on
        // the inactive list.
        let lazy = stat("file 1500\nshmem 0\ninactive_file 3000\nactive_file 500\n");
        check_memory(SERVICE_V2, &[limit, current, lazy], Some((4000, 10000)));
        // The same with 4000 bytes of shared memory.
        let shared = stat("file 5500\nshmem 4000\ninactive_file 3000\nactive_file 500\n");
        check_memory(SERVICE_V2, &[limit, current, shared], Some((4000, 10000)));
    }

    #[test]
    fn the_limit_of_a_parent_group_counts() {
        let own = [
            ("/sys/fs/cgroup/system.slice/sp1d.service/memory.max", "5000\n"),
            ("/sys/fs/cgroup/system.slice/sp1d.service/memory.current", "100\n"),
        ];
        let parent = [
            ("/sys/fs/cgroup/system.slice/memory.max", "6000\n"),
            ("/sys/fs/cgroup/system.slice/memory.current", "5500\n"),
        ];
        check_memory(SERVICE_V2, &parent, Some((500, 6000)));
        // The result has the smallest available bytes and the smallest limit.
        check_memory(SERVICE_V2, &[own, parent].concat(), Some((500, 5000)));
    }

    #[test]
    fn a_namespaced_container_reads_its_limit_at_the_mount_point() {
        let files = [("/sys/fs/cgroup/memory.max", "5000\n"), ("/sys/fs/cgroup/memory.current", "1000\n")];
        check_memory(Place { groups: "0::/\n", mounts: V2 }, &files, Some((4000, 5000)));
    }

    #[test]
    fn a_machine_path_is_resolved_inside_a_container() {
        let files = [("/sys/fs/cgroup/memory.max", "5000\n"), ("/sys/fs/cgroup/memory.current", "1000\n")];
        let groups = "0::/docker/4f5e\n";
        let mounts = "40 39 0:26 /docker/4f5e /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n";
        check_memory(Place { groups, mounts }, &files, Some((4000, 5000)));
        // The mount claims to show the whole tree, but does not have this path.
        check_memory(Place { groups, mounts: V2 }, &files, Some((4000, 5000)));
        let inner = [("/sys/fs/cgroup/inner/memory.max", "3000\n"), ("/sys/fs/cgroup/inner/memory.current", "500\n")];
        check_memory(Place { groups: "0::/docker/4f5e/inner\n", mounts }, &inner, Some((2500, 3000)));
    }

    #[test]
    fn the_mount_of_another_group_is_ignored() {
        let files = [("/other/memory.max", "5000\n"), ("/other/memory.current", "1000\n")];
        let mounts = "40 39 0:26 /docker/97aa /other ro - cgroup2 cgroup rw\n";
        check_memory(Place { groups: "0::/docker/4f5e\n", mounts }, &files, None);
        let mounts = "40 39 0:26 /../97aa /other ro - cgroup2 cgroup rw\n";
        check_memory(Place { groups: "0::/\n", mounts }, &files, None);
    }

    #[test]
    fn paths_are_relative_to_the_root_of_the_mount() {
        check_path_below("/", "/", Some(""));
        check_path_below("/a/b", "/", Some("a/b"));
        check_path_below("/a/b", "/a", Some("b"));
        check_path_below("/a/b", "/a/b", Some(""));
        check_path_below("/ab", "/a", None);
        check_path_below("/", "/a", None);
        // Groups outside the namespace. The mount shows an ancestor, the group itself by a known path, or another
        // group.
        check_path_below("/", "/../..", Some(""));
        check_path_below("/a", "/..", Some(""));
        check_path_below("/../a", "/..", Some("a"));
        check_path_below("/../a", "/", None);
        check_path_below("/../../a", "/..", None);
        check_path_below("/a", "/../b", None);
    }

    #[test]
    fn limits_of_version_1_are_read() {
        let limit = ("/sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", "10000\n");
        let used = ("/sys/fs/cgroup/memory/outer/inner/memory.usage_in_bytes", "7000\n");
        let stat = |text| ("/sys/fs/cgroup/memory/outer/inner/memory.stat", text);
        let cache = "cache 9\ninactive_file 1\ntotal_cache 2500\ntotal_inactive_file 2000\ntotal_active_file 500\n";
        check_memory(SERVICE_V1, &[limit, used, stat(cache)], Some((5000, 10000)));
        // The kernel reports the limit of an ancestor that the mount does not show.
        let text = format!("hierarchical_memory_limit 8000\n{cache}");
        check_memory(SERVICE_V1, &[limit, used, stat(text.as_str())], Some((3000, 8000)));
        let together = Place { groups: "4:cpu,memory:/outer/inner\n", ..SERVICE_V1 };
        check_memory(together, &[limit, used], Some((3000, 10000)));
        let stripped = Place {
            groups: "4:memory:/docker/4f5e\n",
            mounts: "35 31 0:32 /docker/4f5e /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        };
        let files = [
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "6000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n"),
        ];
        check_memory(stripped, &files, Some((5000, 6000)));
    }

    #[test]
    fn a_parent_of_version_1_counts_if_it_uses_the_hierarchy() {
        let parent = [
            ("/sys/fs/cgroup/memory/outer/memory.limit_in_bytes", "6000\n"),
            ("/sys/fs/cgroup/memory/outer/memory.usage_in_bytes", "5000\n"),
        ];
        let hierarchy = |text| [("/sys/fs/cgroup/memory/outer/memory.use_hierarchy", text)];
        check_memory(SERVICE_V1, &parent, Some((1000, 6000)));
        check_memory(SERVICE_V1, &[&parent[..], &hierarchy("1\n")].concat(), Some((1000, 6000)));
        check_memory(SERVICE_V1, &[&parent[..], &hierarchy("0\n")].concat(), None);
    }

    #[test]
    fn huge_limits_of_version_1_are_ignored() {
        for limit in ["9223372036854771712\n", "9223372036854710272\n", "18446744073709551615\n"] {
            let stat = format!("hierarchical_memory_limit {limit}");
            let files = [
                ("/sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", limit),
                ("/sys/fs/cgroup/memory/outer/inner/memory.usage_in_bytes", "7000\n"),
                ("/sys/fs/cgroup/memory/outer/inner/memory.stat", stat.as_str()),
            ];
            check_memory(SERVICE_V1, &files, None);
        }
    }

    #[test]
    fn with_both_versions_the_one_with_the_controller_counts() {
        let mounts = "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        let groups = "4:memory:/a\n1:name=systemd:/user.slice\n0::/user.slice\n";
        let files = [
            ("/sys/fs/cgroup/unified/user.slice/cgroup.procs", "1\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "6000\n"),
            ("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ];
        check_memory(Place { groups, mounts }, &files, Some((5000, 6000)));
        check_oom_kills(Place { groups, mounts }, &files, Some(3));
        check_memory(Place { groups, mounts: UNIFIED }, &files, None);
    }

    #[test]
    fn invalid_content_is_ignored() {
        let max = |text| [("/sys/fs/cgroup/system.slice/sp1d.service/memory.max", text)];
        for text in ["", "\n", "-1\n", "many\n", "99999999999999999999999\n"] {
            check_memory(SERVICE_V2, &max(text), None);
        }
        let files =
            [("/sys/fs/cgroup/memory.max", "5000\n"), ("/sys/fs/cgroup/memory.current", "18446744073709551615\n")];
        check_memory(SERVICE_V2, &files, Some((0, 5000)));
        for groups in ["0", "0:", "0::", "::", "0::..\n"] {
            check_memory(Place { groups, mounts: V2 }, &[], None);
        }
        for mounts in [" - ", "- cgroup2", "1 2 3 - cgroup2 a b", "1 2 3 / - cgroup2 a b", "1 2 3 / /a - cgroup a"] {
            check_memory(Place { mounts, ..SERVICE_V2 }, &[], None);
        }
    }

    #[test]
    fn escaped_characters_of_mountinfo_are_restored() {
        let mount = parse_mount(r"40 39 0:26 /a\134x2db /mnt/two\040words ro - cgroup2 cgroup rw").unwrap();
        let (root, point) = (Path::new(r"/a\x2db").to_owned(), Path::new("/mnt/two words").to_owned());
        assert_eq!(mount, CgroupMount { version: CgroupVersion::V2, root, point });
        assert_eq!(unescape(r"\134040\"), r"\040\");
        assert_eq!(unescape(r"\9\377\é"), r"\9\377\é");
    }

    #[test]
    fn mounts_and_nested_groups_are_bounded() {
        let deep = format!("0::{}\n", "/a".repeat(10_000));
        let mounts: String = (0..100).map(|n| format!("40 39 0:26 / /{n} rw - cgroup2 cgroup2 rw\n")).collect();
        let found = parse_ancestries(&deep, &mounts);
        assert_eq!((found.len(), found[0].folders.len()), (MAX_MOUNTS, MAX_GROUPS));
        let same = V2.repeat(100);
        assert_eq!(parse_ancestries(&deep, &same).len(), 1);
    }

    #[test]
    fn kills_come_from_the_nearest_group_with_a_counter() {
        let own =
            ("/sys/fs/cgroup/system.slice/sp1d.service/memory.events", "low 1\noom 5\noom_kill 2\noom_group_kill 1\n");
        let parent = ("/sys/fs/cgroup/system.slice/memory.events", "oom 9\noom_kill 7\n");
        check_oom_kills(SERVICE_V2, &[parent, own], Some(2));
        check_oom_kills(SERVICE_V2, &[parent], Some(7));
        check_oom_kills(SERVICE_V2, &[], None);
        let control = "/sys/fs/cgroup/memory/outer/inner/memory.oom_control";
        check_oom_kills(SERVICE_V1, &[(control, "oom_kill_disable 1\nunder_oom 0\noom_kill 4\n")], Some(4));
        // Kernels before 4.13 do not have this counter.
        check_oom_kills(SERVICE_V1, &[(control, "oom_kill_disable 1\nunder_oom 0\n")], None);
    }
}
