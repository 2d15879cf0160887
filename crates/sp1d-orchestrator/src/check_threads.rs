//! The threads on which checks of workers' outputs run.
//!
//! They are not threads of a runtime, because the end of a runtime waits for the runtime's threads, and a check may
//! hang. A thread is used again after its check, because creating and ending one takes 25 to 40 microseconds. This file
//! decides nothing about checks.

use crate::lock::lock;
use std::{
    collections::VecDeque,
    io,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// How long a thread waits for another check before it ends. Results of a running proof arrive more often.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// A check. Returns what is left to do at its end.
type Job = Box<dyn FnOnce() -> JobEnd + Send>;

/// Does what is left to do at the end of a check. Must not panic.
type JobEnd = Box<dyn FnOnce() + Send>;

/// The threads that run checks. There are never more than checks have run at the same time. A thread ends after
/// [`IDLE_TIME`] without a check. Dropping this value ends the idle threads, and the others when their checks return.
pub(crate) struct CheckThreads(Arc<ThreadPool>);

struct ThreadPool {
    state: Mutex<PoolState>,
    /// Notified when a job waits, or when the pool is closed.
    changed: Condvar,
    idle_time: Duration,
}

#[derive(Default)]
struct PoolState {
    /// Jobs for idle threads. Never more than `idle`, so no job waits for the end of another one.
    waiting: VecDeque<Job>,
    /// Number of threads that have no job, or are about to have none.
    idle: usize,
    closed: bool,
}

impl Default for CheckThreads {
    fn default() -> Self {
        Self::new(IDLE_TIME)
    }
}

impl CheckThreads {
    fn new(idle_time: Duration) -> Self {
        Self(Arc::new(ThreadPool { state: Mutex::default(), changed: Condvar::new(), idle_time }))
    }

    /// Starts `check` on an idle thread or on a new one, and returns the receiver of its outcome. If the check panics,
    /// the receiver fails. Drops `held` when the check has ended, and before its outcome arrives.
    ///
    /// # Errors
    /// Fails if the system has no thread left. `held` is then dropped.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> T + Send + 'static,
        held: impl Send + 'static,
    ) -> io::Result<oneshot::Receiver<T>> {
        let (sender, outcome) = oneshot::channel();
        let job: Job = Box::new(move || -> JobEnd {
            let returned = panic::catch_unwind(AssertUnwindSafe(check)).ok();
            Box::new(move || {
                drop(held);
                if let Some(returned) = returned {
                    // The caller may have stopped waiting.
                    let _ = sender.send(returned);
                }
            })
        });
        self.start_job(job)?;
        Ok(outcome)
    }

    fn start_job(&self, job: Job) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        if state.waiting.len() < state.idle {
            state.waiting.push_back(job);
            drop(state);
            self.0.changed.notify_one();
            return Ok(());
        }
        drop(state);
        let pool = self.0.clone();
        thread::Builder::new().name("check".to_owned()).spawn(move || pool.work(job))?;
        Ok(())
    }
}

impl Drop for CheckThreads {
    fn drop(&mut self) {
        lock(&self.0.state).closed = true;
        self.0.changed.notify_all();
    }
}

impl ThreadPool {
    /// Runs `job`, and then those that wait, until no job comes for a while.
    fn work(&self, job: Job) {
        let mut next = Some(job);
        while let Some(job) = next {
            let end = job();
            // Others start their checks when they learn of the end, and then find this thread idle.
            lock(&self.state).idle += 1;
            end();
            next = self.next_job();
        }
    }

    /// Returns the next job for an idle thread, which is not idle any more; `None` if the thread must end.
    fn next_job(&self) -> Option<Job> {
        let has_none = |state: &mut PoolState| state.waiting.is_empty() && !state.closed;
        let waited = self.changed.wait_timeout_while(lock(&self.state), self.idle_time, has_none);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        state.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread::ThreadId, time::Instant};

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    /// Runs a check, and returns the thread on which it ran.
    fn run(threads: &CheckThreads) -> ThreadId {
        let outcome = threads.start(|| thread::current().id(), ()).unwrap();
        outcome.blocking_recv().unwrap()
    }

    /// Waits until `is_done` returns true.
    #[track_caller]
    fn wait_until(is_done: impl Fn() -> bool) {
        let deadline = Instant::now() + LONG / 2;
        while !is_done() {
            assert!(Instant::now() < deadline, "it takes too long");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn an_idle_thread_is_used_again() {
        let threads = CheckThreads::new(LONG);
        let first = run(&threads);
        for _ in 0..100 {
            assert_eq!(run(&threads), first);
        }
    }

    #[test]
    fn a_thread_whose_check_hangs_is_not_used_until_the_check_returns() {
        let threads = CheckThreads::new(LONG);
        let (release, released) = mpsc::channel::<()>();
        let hung = threads
            .start(
                move || {
                    _ = released.recv();
                    thread::current().id()
                },
                (),
            )
            .unwrap();
        let other = run(&threads);
        assert_eq!(run(&threads), other);
        drop(release);
        let hung = hung.blocking_recv().unwrap();
        assert_ne!(hung, other);
        assert_eq!(lock(&threads.0.state).idle, 2);
        assert!([hung, other].contains(&run(&threads)));
    }

    #[test]
    fn a_check_that_panics_fails_its_receiver_and_its_thread_is_used_again() {
        let threads = CheckThreads::new(LONG);
        let first = run(&threads);
        let panics = threads.start::<()>(|| panic!("planted"), ()).unwrap();
        assert!(panics.blocking_recv().is_err());
        assert_eq!(run(&threads), first);
    }

    #[test]
    fn what_a_check_holds_is_dropped_before_its_outcome_arrives() {
        let threads = CheckThreads::new(LONG);
        let held = Arc::new(());
        for _ in 0..100 {
            threads.start(|| (), held.clone()).unwrap().blocking_recv().unwrap();
            assert_eq!(Arc::strong_count(&held), 1);
        }
        let panics = threads.start::<()>(|| panic!("planted"), held.clone()).unwrap();
        assert!(panics.blocking_recv().is_err());
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn checks_of_many_threads_all_run() {
        let threads = CheckThreads::new(SHORT);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..200 {
                        assert_eq!(threads.start(move || round, ()).unwrap().blocking_recv(), Ok(round));
                    }
                });
            }
        });
    }

    #[test]
    fn a_thread_ends_if_no_check_comes() {
        let threads = CheckThreads::new(SHORT);
        let first = run(&threads);
        wait_until(|| lock(&threads.0.state).idle == 0);
        assert_ne!(run(&threads), first);
    }

    #[test]
    fn idle_threads_end_with_the_pool() {
        let threads = CheckThreads::new(LONG);
        run(&threads);
        let pool = Arc::downgrade(&threads.0);
        drop(threads);
        wait_until(|| pool.strong_count() == 0);
    }
}
