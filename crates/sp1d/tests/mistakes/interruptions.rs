//! Proofs that are interrupted, killed or held back.

use super::{
    check_refused, end_of,
    executions::{idle_worker, leaving_nothing},
    files, folder, guest, prove, signal, sp1d,
};
use rustix::process::Signal;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Starts a proof of `name` on an idle worker, with `environment`. `watch` receives the process and its folder, and
/// must end the process. Checks that no file, process or shared memory is left.
async fn check_ended(
    name: &str,
    input: &str,
    environment: &[(&str, &str)],
    watch: impl FnOnce(Child, &Path) + Send + 'static,
) {
    let elf = guest(name);
    let arguments = [prove(&elf), vec!["--input", input]].concat();
    check_command_ended(|folder| sp1d(folder, &arguments), environment, watch).await;
}

/// Like [`check_ended`], for any `command` that starts a proof in a folder.
async fn check_command_ended(
    command: impl FnOnce(&Path) -> Command,
    environment: &[(&str, &str)],
    watch: impl FnOnce(Child, &Path) + Send + 'static,
) {
    let worker = idle_worker().await;
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), format!("[\"{}\"]", worker.address)).unwrap();
    let mut command = command(folder.path());
    command.envs(environment.iter().copied()).stderr(Stdio::piped()).stdout(Stdio::piped());
    tokio::task::spawn_blocking(move || {
        leaving_nothing(folder.path(), || watch(command.spawn().unwrap(), folder.path()));
        assert_eq!(files(folder.path()), ["distributed.json"]);
    })
    .await
    .unwrap();
    worker.stop().await;
}

/// Sends SIGINT, as Ctrl-C does, and checks the exit.
fn check_interrupted(process: Child) {
    signal(i32::try_from(process.id()).unwrap(), Signal::INT);
    check_refused(&end_of(process), 130, &["cancelled"]);
}

/// Returns the executions: the processes whose executable is in `folder`.
fn executions(folder: &Path) -> Vec<i32> {
    let inside = |id: &i32| fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|program| program.starts_with(folder));
    let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(inside).collect()
}

/// Processor time after which an execution has loaded the program and runs it, and `sp1d` knows its process.
const RUNNING: Duration = Duration::from_millis(500);

/// Returns the executions that run the program.
fn running_executions(folder: &Path) -> Vec<i32> {
    let running = |id: &i32| processor_time_of(*id).is_some_and(|time| time >= RUNNING);
    executions(folder).into_iter().filter(running).collect()
}

fn wait_for_execution(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while running_executions(folder).is_empty() {
        assert!(Instant::now() < deadline, "no program runs: {:?}", processes(folder));
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the processes that use `folder` for temporary files.
fn processes(folder: &Path) -> Vec<i32> {
    let variable = format!("TMPDIR={}\0", folder.display());
    let has = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.windows(variable.len()).any(|part| part == variable.as_bytes())
    };
    let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(has).collect()
}

/// Returns the processor time of a process so far, or `None` if the process has ended. The fields of `/proc/PID/stat`
/// are described in proc(5); a tick is 10 ms.
fn processor_time_of(process: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Some(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

/// Returns the names of a process's threads with their processor time in ticks.
fn threads(process: u32) -> String {
    let stats = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let stats = stats.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let shown = stats.map(|stat| {
        let (name, rest) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
        format!("{name} {}", rest.split(' ').skip(11).take(2).collect::<Vec<_>>().join("+"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_proof_leaves_nothing_behind() {
    let interrupt = |process, folder: &Path| {
        wait_for_execution(folder);
        check_interrupted(process);
    };
    check_ended("spin", "u32:0", &[], interrupt).await;
    let close_terminal = |mut process: Child, folder: &Path| {
        wait_for_execution(folder);
        drop((process.stdout.take(), process.stderr.take()));
        let id = i32::try_from(process.id()).unwrap();
        // A closed terminal causes two signals: one from the shell and one from the kernel.
        signal(id, Signal::HUP);
        signal(id, Signal::HUP);
        assert_eq!(end_of(process).status.code(), Some(130));
    };
    check_ended("spin", "u32:0", &[], close_terminal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_killed_from_outside_is_restarted_twice() {
    let watch = |mut process: Child, folder: &Path| {
        // Kill every execution until `sp1d` gives up. This includes an execution that only repeats the program to find
        // its error.
        let mut killed = BTreeSet::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
            for id in running_executions(folder) {
                if killed.insert(id) {
                    signal(id, Signal::KILL);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        let output = end_of(process);
        assert!(killed.len() >= 3, "{killed:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.matches("the proof restarts: ").count(), 2, "{stderr}");
        check_refused(&output, 7, &["killed from outside"]);
    };
    check_ended("spin", "u32:0", &[], watch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_whose_terminal_is_closed_ends_and_leaves_nothing() {
    // The command has its own terminal, which closes when the test kills `script`.
    let command = |folder: &Path| {
        let line = format!("exec {} prove --elf {}", env!("CARGO_BIN_EXE_sp1d"), guest("spin").display());
        let mut terminal = Command::new("script");
        terminal.args(["-qfc", &format!("{line} --input u32:0 --output proof.bin"), "/dev/null"]).stdin(Stdio::piped());
        terminal.current_dir(folder).env("TMPDIR", folder);
        terminal
    };
    let watch = |mut terminal: Child, folder: &Path| {
        let wait_until = |what: &str, holds: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while !holds() {
                assert!(Instant::now() < deadline, "{what}: {:?}", processes(folder));
                thread::sleep(Duration::from_millis(50));
            }
        };
        wait_for_execution(folder);
        terminal.kill().unwrap();
        terminal.wait().unwrap();
        wait_until("sp1d does not end", &|| processes(folder).is_empty());
    };
    check_command_ended(command, &[], watch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_held_back_costs_next_to_nothing() {
    let watch = |process: Child, folder: &Path| {
        let used = |longest: Duration| {
            let id = i32::try_from(process.id()).unwrap();
            let before = processor_time_of(id).unwrap();
            thread::sleep(longest);
            (processor_time_of(id).unwrap() - before).as_secs_f64() / longest.as_secs_f64()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while executions(folder).is_empty() || used(Duration::from_secs(1)) > 0.2 {
            assert!(Instant::now() < deadline, "the execution is not held back");
        }
        // 5 % of four seconds are 20 ticks.
        let share = used(Duration::from_secs(4));
        assert!(!executions(folder).is_empty(), "the program has ended");
        assert!(share < 0.05, "{share} of a core while nothing happens: {}", threads(process.id()));
        check_interrupted(process);
    };
    // More shards than may be in flight, and far more than five chunks of the trace. Memory accesses fill the chunks.
    let environment = [("ELEMENT_THRESHOLD", "33554432"), ("MINIMAL_TRACE_CHUNK_THRESHOLD", "1000000")];
    check_ended("precompiles", "u32:100000", &environment, watch).await;
}
