//! Supervises executions and the child processes that they run in.
//!
//! SP1 runs a program in a child process of this process and does not report its process id. A program that never
//! completes a trace chunk can only be stopped by killing that child, so the child has to be found. Executions
//! therefore start one at a time, and a child that appears during a start belongs to the execution that starts.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    fs,
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Mutex,
    task::{JoinError, JoinHandle},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Global on purpose. Child processes belong to the whole process, so executions must start one at a time in all of it.
static BEGINNING: Mutex<()> = Mutex::const_new(());

/// The name of SP1's helper program. The kernel truncates names to 15 bytes.
const CHILD_NAME: &str = "sp1-native-runn";

/// How an execution ended.
pub(crate) enum Ended<T> {
    /// The execution returned a result.
    Done(T),
    /// The execution panicked. The panic message is in the log.
    Panicked(JoinError),
    /// The child was killed because it took too long without completing a trace chunk.
    RanAway,
    /// The child was killed on request.
    Stopped,
}

/// Bounds the cycles of a program where they cannot be counted exactly.
#[derive(Debug, Clone)]
pub(crate) struct Leash {
    /// The cycle limit. With `None` nothing is bounded.
    pub(crate) cycle_limit: Option<u64>,
    /// A counter that grows whenever a trace chunk is complete. It stays 0 for executions that do not count.
    pub(crate) chunks: Arc<AtomicU64>,
    /// The fewest cycles that an execution of this kind runs per second of CPU time.
    pub(crate) slowest_cycles_per_second: u64,
}

impl Leash {
    /// Returns the CPU time without a completed trace chunk after which the cycle limit is certainly exceeded. Returns
    /// `None` without a cycle limit.
    fn longest_chunk(&self) -> Option<Duration> {
        /// CPU time for starting, compiling and slow system calls.
        const MARGIN: Duration = Duration::from_secs(10);
        let limit = self.cycle_limit?;
        Some(MARGIN + Duration::from_secs(limit / self.slowest_cycles_per_second))
    }
}

/// Runs `work`, which executes one program, until it ends, `stop` is cancelled, or it exceeds `leash`. Dropping the
/// future stops the execution.
pub(crate) async fn supervise<T, F>(work: F, stop: &CancellationToken, leash: Leash) -> Ended<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let stop = stop.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    // A separate task kills the child and waits for its end even if the caller drops this future.
    tokio::spawn(watch_over(work, stop, leash)).await.unwrap_or_else(Ended::Panicked)
}

async fn watch_over<T, F>(work: F, stop: CancellationToken, leash: Leash) -> Ended<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    if stop.is_cancelled() {
        return Ended::Stopped;
    }
    let beginning = BEGINNING.lock().await;
    let mut traces = Traces::before();
    let mut work = tokio::spawn(work);
    let chunks = leash.chunks.load(Ordering::Relaxed);
    let early = loop {
        tokio::select! {
            outcome = &mut work => break Some(outcome),
            () = sleep(Duration::from_millis(5)) => {}
        }
        // A child that started and ended between two looks is not seen, but its completed chunks are counted. Stop
        // looking in that case, so that other executions can start.
        if traces.look() || leash.chunks.load(Ordering::Relaxed) != chunks {
            break None;
        }
    };
    traces.look();
    drop(beginning);
    let ended = match early {
        Some(outcome) => outcome.map_or_else(Ended::Panicked, Ended::Done),
        None => wait_for_end(&mut work, &traces, &stop, &leash).await,
    };
    // Clean up even after a normal end. The parts of SP1's executor do not wait for each other, and a part that failed
    // leaves the child running.
    traces.remove().await;
    work.abort();
    ended
}

async fn wait_for_end<T>(
    work: &mut JoinHandle<T>,
    traces: &Traces,
    stop: &CancellationToken,
    leash: &Leash,
) -> Ended<T> {
    let longest = leash.longest_chunk();
    let (mut chunks, mut processor_time_then) = (leash.chunks.load(Ordering::Relaxed), Duration::ZERO);
    loop {
        tokio::select! {
            outcome = &mut *work => return outcome.map_or_else(Ended::Panicked, Ended::Done),
            () = stop.cancelled() => return Ended::Stopped,
            () = sleep(Duration::from_millis(250)) => {}
        }
        let Some(longest) = longest else { continue };
        let Some(processor_time) = traces.processor_time() else { continue };
        let now = leash.chunks.load(Ordering::Relaxed);
        if now != chunks {
            (chunks, processor_time_then) = (now, processor_time);
        } else if processor_time.saturating_sub(processor_time_then) > longest {
            return Ended::RanAway;
        }
    }
}

/// What an execution has outside of this process: a child process and shared memory segments.
struct Traces {
    children_before: BTreeSet<i32>,
    segments_before: BTreeSet<String>,
    child: Option<i32>,
    segments: BTreeSet<String>,
}

impl Traces {
    /// Records what exists before the execution starts, so that new children and segments can be recognized.
    fn before() -> Self {
        Self {
            children_before: children().into_iter().map(|child| child.id).collect(),
            segments_before: mapped_segments(),
            child: None,
            segments: BTreeSet::new(),
        }
    }

    /// Looks for new children and segments. Returns true once the child exists; it is created last.
    fn look(&mut self) -> bool {
        let new = |child: &Process| !self.children_before.contains(&child.id);
        self.child = self.child.or_else(|| children().iter().find(|child| new(child)).map(|child| child.id));
        self.segments.extend(mapped_segments().difference(&self.segments_before).cloned());
        self.child.is_some()
    }

    fn processor_time(&self) -> Option<Duration> {
        Some(process(self.child?)?.processor_time)
    }

    fn remain(&self) -> Vec<PathBuf> {
        self.segments.iter().map(|name| Path::new(SHARED).join(name)).filter(|path| path.exists()).collect()
    }

    /// Kills the child and removes its shared memory. SP1's runner notices the end of the child, reaps it and removes
    /// the segments. After 2 s the remaining segments are removed here.
    async fn remove(self) {
        if let Some(child) = self.child.filter(|child| children().iter().any(|found| found.id == *child)) {
            kill(child);
        }
        for _ in 0..200 {
            if self.remain().is_empty() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!(remain = ?self.remain(), "execution left shared memory behind");
        self.segments.iter().for_each(|name| remove_segment(name));
    }
}

/// Where the operating system keeps shared memory.
const SHARED: &str = "/dev/shm";

/// Returns the names of SP1's segments that this process has mapped.
fn mapped_segments() -> BTreeSet<String> {
    segments_of("self").unwrap_or_default()
}

/// Returns the names of SP1's segments that `process` has mapped. Returns `None` if its maps cannot be read.
fn segments_of(process: &str) -> Option<BTreeSet<String>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let names = maps.lines().filter_map(|line| line.split_once("/dev/shm/")).map(|(_, name)| name);
    // A segment whose file was removed is listed as "NAME (deleted)".
    Some(names.filter(|name| name.starts_with("sp1_") && !name.contains(' ')).map(str::to_owned).collect())
}

/// What [`remove_leftovers`] has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Number of executors that were killed because their parent process is gone.
    pub executors: usize,
    /// Number of shared memory files that were removed because no process uses them.
    pub files: usize,
}

/// Kills executors of this user whose parent process is gone, and removes shared memory of this user that no process
/// has mapped. Executions of other living processes are not touched.
pub fn remove_leftovers() -> Leftovers {
    /// A segment is created some moments before it is mapped, so young files are kept.
    const YOUNG: Duration = Duration::from_secs(60);
    let mut removed = Leftovers::default();
    let own = rustix::process::geteuid().as_raw();
    for orphan in processes().filter(|process| process.name == CHILD_NAME) {
        // An executor's original parent has the trace segments mapped. A parent that has none mapped adopted the
        // executor after the original parent ended.
        let is_ours = fs::metadata(format!("/proc/{}", orphan.id)).is_ok_and(|file| file.st_uid() == own);
        // Parent 1 alone does not prove an adoption: in a container, process 1 may be the original parent.
        let adopted =
            segments_of(&orphan.parent.to_string()).map_or(orphan.parent == 1, |segments| segments.is_empty());
        if is_ours && adopted {
            kill(orphan.id);
            removed.executors += 1;
        }
    }
    if removed.executors > 0 {
        // The memory of a killed executor stays mapped until the process is gone.
        std::thread::sleep(Duration::from_millis(200));
    }
    let used: BTreeSet<String> =
        processes().filter_map(|process| segments_of(&process.id.to_string())).flatten().collect();
    for file in fs::read_dir(SHARED).into_iter().flatten().flatten() {
        let Ok(name) = file.file_name().into_string() else { continue };
        let segment = name.strip_prefix("sem.").unwrap_or(&name);
        let segment = segment.strip_suffix("_filled").or(segment.strip_suffix("_empty")).unwrap_or(segment);
        let is_left = file.metadata().is_ok_and(|file| {
            let age = file.modified().ok().and_then(|time| time.elapsed().ok());
            file.st_uid() == own && age.is_some_and(|age| age > YOUNG)
        });
        if segment.starts_with("sp1_") && !used.contains(segment) && is_left && fs::remove_file(file.path()).is_ok() {
            removed.files += 1;
        }
    }
    removed
}

/// Kills all executions of this process and removes their shared memory. For a process that is about to end without
/// waiting.
pub fn kill_executions() {
    children().iter().for_each(|child| kill(child.id));
    mapped_segments().iter().for_each(|name| remove_segment(name));
}

/// Removes a segment and its semaphores. Semaphores are files too. Most segments have none.
fn remove_segment(name: &str) {
    for file in [name.to_owned(), format!("sem.{name}_filled"), format!("sem.{name}_empty")] {
        let _ = fs::remove_file(Path::new(SHARED).join(file));
    }
}

fn kill(child: i32) {
    // The id cannot belong to another process yet: the child was not reaped, or was seen a moment ago.
    if let Some(pid) = Pid::from_raw(child)
        && let Err(error) = kill_process(pid, Signal::KILL)
    {
        tracing::debug!(child, %error, "cannot kill the process of an execution");
    }
}

struct Process {
    id: i32,
    parent: i32,
    name: String,
    processor_time: Duration,
}

fn process(id: i32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Parses the fields of `/proc/PID/stat`, see proc(5). The name is in parentheses and may itself contain parentheses.
fn parse_stat(stat: &str) -> Option<Process> {
    /// Fixed in the kernel's interface, independent of the timer frequency.
    const TICKS_PER_SECOND: u64 = 100;
    let (id, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Process {
        id: id.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        name: name.to_owned(),
        processor_time: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    })
}

/// Returns the executors that are children of this process.
fn children() -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    processes().filter(|process| process.parent == own && process.name == CHILD_NAME).collect()
}

/// Returns all processes that are visible in `/proc`.
fn processes() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?))
}
