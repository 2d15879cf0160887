//! Executions and the child processes they run in.
//!
//! SP1 runs a program in a child of this process and gives nobody its number. A program that never ends a trace chunk
//! can only be stopped by killing that child, so it has to be found: executions begin one at a time, and the child that
//! appears meanwhile is the new one's.

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

/// The processes are this process's own, so is what keeps their beginnings apart.
static BEGINNING: Mutex<()> = Mutex::const_new(());

/// The name of SP1's helper, as the system shortens it.
const CHILD_NAME: &str = "sp1-native-runn";

/// How an execution ended.
pub(crate) enum Ended<T> {
    /// By itself.
    Done(T),
    /// It panicked; the message went to the log.
    Panicked(JoinError),
    /// Its child was killed: it went on too long without ending a trace chunk.
    RanAway,
    /// Its child was killed on request.
    Stopped,
}

/// A bound on a program's cycles where it cannot be checked exactly.
#[derive(Debug, Clone)]
pub(crate) struct Leash {
    /// The limit; none is no leash.
    pub(crate) cycle_limit: Option<u64>,
    /// Grows whenever a trace chunk ends, if anybody counts them.
    pub(crate) chunks: Arc<AtomicU64>,
    /// Fewest cycles that an execution of this kind does in a second of processor time.
    pub(crate) slowest_cycles_per_second: u64,
}

impl Leash {
    /// Processor time without the end of a trace chunk that proves the limit passed.
    fn longest_chunk(&self) -> Option<Duration> {
        /// Starting, compiling and slow system calls are not cycles.
        const MARGIN: Duration = Duration::from_secs(10);
        let limit = self.cycle_limit?;
        Some(MARGIN + Duration::from_secs(limit / self.slowest_cycles_per_second))
    }
}

/// Runs `work`, which executes one program, until it ends, `stop` is cancelled, or it passes `leash`. Dropping the
/// future stops it.
pub(crate) async fn supervise<T, F>(work: F, stop: &CancellationToken, leash: Leash) -> Ended<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let stop = stop.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    // On a task of its own: it has a child to kill and to wait for also when nobody waits for it any more.
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
        // A child that came and went between two looks has left chunks; others must not wait for this execution's end.
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
    // Also after an end by itself: the parts of SP1's executor do not wait for each other, and one that failed leaves
    // the child running.
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

/// What an execution has outside of this process: a child, and segments of shared memory.
struct Traces {
    children_before: BTreeSet<i32>,
    segments_before: BTreeSet<String>,
    child: Option<i32>,
    segments: BTreeSet<String>,
}

impl Traces {
    /// To be told apart from all that is there now.
    fn before() -> Self {
        Self {
            children_before: children().into_iter().map(|child| child.id).collect(),
            segments_before: mapped_segments(),
            child: None,
            segments: BTreeSet::new(),
        }
    }

    /// Looks for what is new; true once the child, which comes last, is there.
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

    /// Kills the child. SP1's runner notices, waits for it and takes the segments away; what it has not taken after a
    /// while is taken here.
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
        tracing::warn!(remain = ?self.remain(), "an execution left shared memory behind");
        self.segments.iter().for_each(|name| remove_segment(name));
    }
}

/// Where the system keeps shared memory.
const SHARED: &str = "/dev/shm";

/// Names of SP1's segments that this process has mapped.
fn mapped_segments() -> BTreeSet<String> {
    segments_of("self").unwrap_or_default()
}

/// The same of any process; `None` when the system does not say.
fn segments_of(process: &str) -> Option<BTreeSet<String>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let names = maps.lines().filter_map(|line| line.split_once("/dev/shm/")).map(|(_, name)| name);
    // A segment whose name was taken away is shown as "NAME (deleted)".
    Some(names.filter(|name| name.starts_with("sp1_") && !name.contains(' ')).map(str::to_owned).collect())
}

/// What a killed process left behind of its executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Executors without the process they executed for.
    pub executors: usize,
    /// Files of shared memory that nobody uses.
    pub files: usize,
}

/// Kills executors of this user whose process is gone, and removes shared memory of theirs that nobody has mapped. What
/// another living process executes is left alone.
pub fn remove_leftovers() -> Leftovers {
    /// A segment is made some moments before it is mapped.
    const YOUNG: Duration = Duration::from_secs(60);
    let mut removed = Leftovers::default();
    let own = rustix::process::geteuid().as_raw();
    for orphan in processes().filter(|process| process.name == CHILD_NAME) {
        // Whoever executes has the trace mapped. A parent that has not adopted the executor when its own was gone.
        let is_ours = fs::metadata(format!("/proc/{}", orphan.id)).is_ok_and(|file| file.st_uid() == own);
        // In a container the first process may be the one that executes.
        let adopted =
            segments_of(&orphan.parent.to_string()).map_or(orphan.parent == 1, |segments| segments.is_empty());
        if is_ours && adopted {
            kill(orphan.id);
            removed.executors += 1;
        }
    }
    if removed.executors > 0 {
        // Their memory is mapped until they are gone.
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

/// Ends every execution of this process and removes its shared memory: for a process that is about to end without
/// waiting.
pub fn kill_executions() {
    children().iter().for_each(|child| kill(child.id));
    mapped_segments().iter().for_each(|name| remove_segment(name));
}

/// Removes a segment and its semaphores, which are files too and which most segments have none of.
fn remove_segment(name: &str) {
    for file in [name.to_owned(), format!("sem.{name}_filled"), format!("sem.{name}_empty")] {
        let _ = fs::remove_file(Path::new(SHARED).join(file));
    }
}

fn kill(child: i32) {
    // It is ours and not yet waited for, or was seen a moment ago.
    if let Some(pid) = Pid::from_raw(child)
        && let Err(error) = kill_process(pid, Signal::KILL)
    {
        tracing::debug!(child, %error, "kill an execution's process");
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

/// Fields of `/proc/PID/stat`, see proc(5). The name stands in parentheses and may contain any.
fn parse_stat(stat: &str) -> Option<Process> {
    /// Of the kernel's interface, whatever its timer does.
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

/// Executors that are children of this process.
fn children() -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    processes().filter(|process| process.parent == own && process.name == CHILD_NAME).collect()
}

/// All processes that the system shows.
fn processes() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?))
}
