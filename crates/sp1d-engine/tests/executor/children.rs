//! Tests for the limits of an execution's child process. The children here are small programs of the system.

use crate::{
    child_limits::{ChildLimits, GroupLimits},
    child_use::{parse_write, pending_write, resident_memory, written_bytes},
    control_group::{ExecutionGroup, group_parent, remove_later},
    line_limit::hides_children,
};
use rustix::process::Signal;
use std::{
    fs,
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A child process that is killed at the end of a test.
struct FakeChild(Child);

impl FakeChild {
    /// Starts `command` in a shell, with pipes for its input and output.
    fn start(command: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(shell.spawn().expect("the system has a shell"))
    }

    fn id(&self) -> i32 {
        i32::try_from(self.0.id()).expect("process ids are positive")
    }

    /// Waits until `probe` returns a value.
    #[track_caller]
    fn wait_for<T>(&self, mut probe: impl FnMut(i32) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = probe(self.id()) {
                return found;
            }
            assert!(Instant::now() < deadline, "the child does not do what it should");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for FakeChild {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the soft and the hard limit with this name.
fn limit(child: i32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel knows the limit");
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn limits_follow_from_the_memory_of_the_program() {
    let limits = ChildLimits::new(16 << 30, 0);
    assert_eq!(limits.oom_score, 500);
    assert_eq!(limits.group.memory_bytes, 18 << 30, "an eighth more");
    assert_eq!(ChildLimits::new(1 << 30, 0).group.memory_bytes, (1 << 30) + (512 << 20), "the smallest margin");
    assert_eq!(ChildLimits::new(u64::MAX, 0).group.memory_bytes, u64::MAX);
    assert_eq!(ChildLimits::new(0, -500).oom_score, 0, "a protected process does not protect its children");
    assert_eq!(ChildLimits::new(0, 900).oom_score, 1000);
}

#[test]
fn a_running_child_gets_its_limits() {
    let mut child = FakeChild::start("read line; exit 7");
    let limits = ChildLimits::new(1 << 30, 0);
    assert_eq!(limits.apply(child.id()), Vec::<String>::new());
    let same = |value: u64| (value.to_string(), value.to_string());
    assert_eq!(limit(child.id(), "Max open files"), same(limits.open_files));
    assert_eq!(limit(child.id(), "Max file size"), same(limits.file_bytes));
    // 0 if that is the hard limit of this process.
    let (soft, hard) = limit(child.id(), "Max core file size");
    assert!(soft == hard && ["0", "1"].contains(&soft.as_str()), "{soft} {hard}");
    assert_eq!(limit(child.id(), "Max cpu time").0, limits.processor_window.as_secs().to_string());
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", child.id())).unwrap();
    assert_eq!(score.trim(), limits.oom_score.to_string());
    // The child still works.
    child.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(7));
}

#[test]
fn a_child_without_its_supervisor_ends_after_some_processor_time() {
    let mut child = FakeChild::start("while :; do :; done");
    let limits = ChildLimits { processor_window: Duration::from_secs(1), ..ChildLimits::new(1 << 30, 0) };
    assert_eq!(limits.apply(child.id()), Vec::<String>::new());
    assert_eq!(child.0.wait().unwrap().signal(), Some(Signal::XCPU.as_raw()));
}

#[test]
fn the_limit_of_the_processor_time_moves() {
    let child = FakeChild::start("read line");
    let limits = ChildLimits::new(1 << 30, 0);
    assert_eq!(limits.apply(child.id()), Vec::<String>::new());
    let window = limits.processor_window;
    limits.renew(child.id(), window).unwrap();
    assert_eq!(limit(child.id(), "Max cpu time").0, (2 * window).as_secs().to_string());
    assert!(limits.renew(i32::MAX, window).is_err(), "no process has this id");
}

#[test]
fn a_long_line_is_seen_while_it_is_written() {
    const LINE_BYTES: u64 = 40 << 20;
    // The program writes the line with one call, as SP1's executor does.
    let child = FakeChild::start(&format!("exec dd if=/dev/zero bs={LINE_BYTES} count=1"));
    let stdout = 1;
    assert_eq!(child.wait_for(|id| pending_write(id, stdout)), LINE_BYTES);
    assert_eq!(pending_write(child.id(), 2), None, "it writes nothing to stderr");
    assert!(resident_memory(child.id()).unwrap() >= LINE_BYTES);
}

#[test]
fn the_output_of_a_child_is_counted() {
    let child = FakeChild::start("printf %0100d 7; read line");
    child.wait_for(|id| written_bytes(id).filter(|written| *written == 100));
}

#[test]
fn system_calls_are_parsed() {
    #[track_caller]
    fn check(text: &str, expected: Option<(u64, u64)>) {
        assert_eq!(parse_write(text), expected, "{text:?}");
    }
    let write = if cfg!(target_arch = "x86_64") { 1 } else { 64 };
    let rest = "0x2 0x7f3dda95d030 0x12c00000 0x0 0x0 0x0 0x7fff9f6ea868 0x7f3dee2b9350\n";
    check(&format!("{write} {rest}"), Some((2, 0x12c0_0000)));
    check("0 0x0 0x7f3dda95d030 0x2000 0x0 0x0 0x0 0x7fff9f6ea868 0x7f3dee2b9350\n", None);
    for text in ["running\n", "-1 0x7fff9f6ea868 0x7f3dee2b9350\n", "", "1 2 3 4\n", "1 0x2 0x3\n"] {
        check(text, None);
    }
}

#[test]
fn yama_may_hide_the_system_calls_of_a_child() {
    #[track_caller]
    fn check(scope: &str, capabilities: &str, expected: bool) {
        let status = format!("Name:\tsp1d\nCapPrm:\t000001ffffffffff\nCapEff:\t{capabilities}\nSeccomp:\t2\n");
        assert_eq!(hides_children(scope, &status), expected, "{scope:?} {capabilities}");
    }
    let (none, all, tracing) = ("0000000000000000", "000001ffffffffff", "0000000000080000");
    for capabilities in [none, all, tracing] {
        check("0\n", capabilities, false);
        check("1\n", capabilities, false);
        check("3\n", capabilities, true);
    }
    check("2\n", none, true);
    check("2\n", "0000000000040000", true);
    check("2\n", tracing, false);
    check("2\n", all, false);
    assert!(hides_children("2\n", ""), "the capabilities are unknown");
}

#[test]
fn a_group_has_the_limits_of_its_execution() {
    let parent = tempfile::tempdir().unwrap();
    let limits = GroupLimits { memory_bytes: 5 << 30, processes: 16 };
    let group = ExecutionGroup::create_in(parent.path(), "execution-1-0", limits).unwrap();
    group.add(4711).unwrap();
    let read = |name: &str| fs::read_to_string(parent.path().join(name)).unwrap();
    assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
    assert_eq!(read("execution-1-0/memory.max"), (5_u64 << 30).to_string());
    assert_eq!(read("execution-1-0/pids.max"), "16");
    assert_eq!(read("execution-1-0/memory.swap.max"), "0");
    assert_eq!(read("execution-1-0/cgroup.procs"), "4711");
    assert!(!group.was_out_of_memory());
    let events = parent.path().join("execution-1-0/memory.events");
    fs::write(&events, "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n").unwrap();
    assert!(!group.was_out_of_memory());
    fs::write(&events, "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n").unwrap();
    assert!(!group.was_out_of_memory(), "the machine had no memory left");
    fs::write(&events, "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n").unwrap();
    assert!(group.was_out_of_memory());
}

#[test]
fn a_group_is_removed_when_its_child_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let kill = folder.path().join("cgroup.kill");
    fs::write(&kill, "").unwrap();
    let mut busy = 3;
    let remove = || {
        busy -= 1;
        if busy > 0 { Err(io::ErrorKind::ResourceBusy.into()) } else { Ok(()) }
    };
    remove_later(remove, folder.path());
    assert_eq!(busy, 0);
    assert_eq!(fs::read_to_string(kill).unwrap(), "1");
}

#[test]
fn a_group_that_cannot_be_created_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let limits = GroupLimits { memory_bytes: 5 << 30, processes: 16 };
    let missing = parent.path().join("missing");
    assert!(ExecutionGroup::create_in(&missing, "execution-1-0", limits).is_err());
    fs::create_dir(parent.path().join("execution-1-0")).unwrap();
    assert!(ExecutionGroup::create_in(parent.path(), "execution-1-0", limits).is_err(), "the group exists");
}

#[test]
fn groups_are_created_beside_the_own_group() {
    #[track_caller]
    fn check(groups: &str, expected: Option<&str>) {
        assert_eq!(group_parent(groups).as_deref(), expected.map(Path::new), "{groups:?}");
    }
    check("0::/system.slice/sp1d-serve.service/service\n", Some("system.slice/sp1d-serve.service"));
    check("4:memory:/a/b\n0::/c/d\n", Some("c"));
    // The root of the tree, and a group right below it.
    check("0::/\n", None);
    check("0::/service\n", None);
    // Version 1, groups outside of the namespace, and no groups.
    check("4:memory:/a/b\n", None);
    check("0::/../a/b\n", None);
    check("", None);
}
