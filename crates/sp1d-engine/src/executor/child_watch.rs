//! Watches what an execution's child process uses, and says when the execution must end.

use super::{
    child_limits::{ChildLimits, own_oom_score},
    child_use::{has_too_much_output, resident_memory, too_long_line},
    control_group::ExecutionGroup,
    execution_bound::ExecutionBound,
    failures::{too_long_line_written, too_much_memory, too_much_output},
    line_limit::warn_if_hidden,
    resources::ExecutionResources,
    shared_memory::SharedMemoryShortage,
    shared_memory_share::SharedMemoryShare,
};
use sp1d_orchestrator::ProofFailure;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The limits of one execution, from before its start until its child is gone.
pub(super) struct ChildWatch {
    limits: ChildLimits,
    memory_bytes: u64,
    input_bytes: u64,
    share: SharedMemoryShare,
    group: Option<ExecutionGroup>,
    /// The processor time of the child when its limit was last moved.
    renewed_at: Duration,
    looks: u64,
}

impl ChildWatch {
    /// Reserves shared memory for an execution within `bound`, and creates its control group if that is possible. Waits
    /// while other executions have the memory.
    pub(super) async fn prepare(bound: &ExecutionBound) -> Result<Self, SharedMemoryShortage> {
        let share = if bound.needs_whole_trace {
            SharedMemoryShare::reserve_whole(bound.trace_bytes).await?
        } else {
            SharedMemoryShare::reserve(bound.trace_bytes).await?
        };
        let limits = ChildLimits::new(bound.memory_bytes, own_oom_score());
        let group = ExecutionGroup::create(limits.group);
        let (memory_bytes, input_bytes) = (bound.memory_bytes, bound.input_bytes);
        Ok(Self { limits, memory_bytes, input_bytes, share, group, renewed_at: Duration::ZERO, looks: 0 })
    }

    /// Waits until the shared memory of the execution is free. Another execution may have to end first.
    ///
    /// # Errors
    /// Fails if the memory is not free in time.
    pub(super) async fn wait_for_share(&self) -> Result<(), ProofFailure> {
        /// An execution that exceeds its share ends within 0.1 s. Then it frees gigabytes.
        const MAX_WAIT: Duration = Duration::from_secs(5);
        const LOOK_INTERVAL: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + MAX_WAIT;
        while !self.share.is_free() {
            if Instant::now() >= deadline {
                return Err(ProofFailure::Interrupted(
                    "the shared memory of the execution at /dev/shm has not become free\n\
                     hint: enlarge it with `mount -o remount,size=6G /dev/shm`, or run fewer proofs at the same time \
                     (`--parallel-proofs` of `sp1d serve`)"
                        .to_owned(),
                ));
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Sets the limits of the child. Limits that cannot be set are left out: the supervisor checks memory and time in
    /// any case.
    pub(super) fn limit(&self, child: i32) {
        let mut failed = self.limits.apply(child);
        if let Some(Err(error)) = self.group.as_ref().map(|group| group.add(child)) {
            failed.push(format!("control group: {error}"));
        }
        if !failed.is_empty() {
            tracing::debug!(child, ?failed, "cannot set some limits of an execution");
        }
        warn_if_hidden(child);
    }

    /// Returns why the execution must end, or `None`.
    pub(super) fn look(&mut self, resources: &ExecutionResources) -> Option<ProofFailure> {
        /// What changes slowly is read at every fourth look.
        const LOOKS_PER_FULL_LOOK: u64 = 4;
        let child = resources.child()?;
        self.looks += 1;
        let is_full = self.looks.is_multiple_of(LOOKS_PER_FULL_LOOK);
        let exceeded = if let Some(bytes) = too_long_line(child) {
            Some(too_long_line_written(bytes))
        } else if resident_memory(child).is_some_and(|used| used > self.memory_bytes) {
            Some(too_much_memory(self.memory_bytes))
        } else if is_full && has_too_much_output(child, self.input_bytes) {
            Some(too_much_output())
        } else {
            None
        };
        // The child may have ended, and its process id may belong to another process now.
        if exceeded.is_some() && resources.is_running() {
            return exceeded;
        }
        if is_full && let Err(overdraft) = self.share.check(resources.shared_bytes()) {
            return Some(ProofFailure::Interrupted(overdraft.to_string()));
        }
        None
    }

    /// Moves the limit of the child's processor time.
    pub(super) fn renew(&mut self, child: i32, processor_time: Duration) {
        // Half of the window is always left.
        if processor_time.saturating_sub(self.renewed_at) > self.limits.processor_window / 2 {
            self.renewed_at = processor_time;
            if let Err(error) = self.limits.renew(child, processor_time) {
                tracing::debug!(child, %error, "cannot move the limit of the processor time of an execution");
            }
        }
    }

    /// Returns the failure of an execution whose child the kernel killed because of the limit of its control group.
    pub(super) fn killed_by_limit(&self) -> Option<ProofFailure> {
        let is_killed = self.group.as_ref().is_some_and(ExecutionGroup::was_out_of_memory);
        is_killed.then(|| too_much_memory(self.memory_bytes))
    }
}
