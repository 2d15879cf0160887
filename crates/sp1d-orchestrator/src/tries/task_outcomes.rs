//! The outcomes of the tasks of a try, the subscribers that wait for them, and the message channels between tasks.
//!
//! [`TaskOutcomes`] keeps the contract that SP1's clients expect:
//! - Subscribers only receive final outcomes.
//! - A subscription to a task that has ended resolves at once.
//! - Several subscribers may wait for one task.
//! - The first outcome of a task is final.
//! - The first sender or receiver that uses a channel creates it. The channel keeps messages until its only receiver
//!   comes, and it ends with its task.
//! - When the try stops, all open subscriptions fail before the channels close.

use crate::lock::lock;
use futures::{StreamExt, stream::FuturesUnordered};
use sp1d_scheduler::TaskId;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};
use tokio::sync::{mpsc, oneshot};

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOutcome {
    /// Its result is available.
    Succeeded,
    /// It failed, so there will be no result.
    Failed,
}

/// The final outcomes of the tasks of a try, and the message channels between them.
#[derive(Debug, Default)]
pub struct TaskOutcomes {
    state: Mutex<OutcomeTable>,
}

#[derive(Debug, Default)]
struct OutcomeTable {
    tasks: HashMap<TaskId, KnownTask>,
    channels: HashMap<TaskId, MessageChannel>,
    closed: bool,
}

#[derive(Debug)]
enum KnownTask {
    Open(Vec<oneshot::Sender<TaskOutcome>>),
    Ended(TaskOutcome),
}

/// The messages of a task. Unbounded, because SP1's interface has an unbounded receiver. SP1 sends one short message
/// for each shard and for each deferred task of the try.
#[derive(Debug)]
struct MessageChannel {
    sender: mpsc::UnboundedSender<Vec<u8>>,
    receiver: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl MessageChannel {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Some(receiver) }
    }
}

impl TaskOutcomes {
    fn lock(&self) -> MutexGuard<'_, OutcomeTable> {
        lock(&self.state)
    }

    /// Registers a new task. Does nothing if the task is known or if the try has stopped.
    pub fn open(&self, task: TaskId) {
        let mut state = self.lock();
        if !state.closed {
            state.tasks.entry(task).or_insert_with(|| KnownTask::Open(Vec::new()));
        }
    }

    /// Ends a task and notifies its subscribers. Does nothing if the task is unknown or has already ended.
    pub fn end(&self, task: TaskId, outcome: TaskOutcome) {
        let mut state = self.lock();
        let Some(known) = state.tasks.get_mut(&task) else { return };
        let KnownTask::Open(waiting) = known else { return };
        for waiter in std::mem::take(waiting) {
            // A subscriber may have stopped waiting.
            let _ = waiter.send(outcome);
        }
        *known = KnownTask::Ended(outcome);
        // Dropping the sender ends the channel. A receiver that was taken can still read the messages.
        if let Some(channel) = state.channels.get_mut(&task) {
            match channel.receiver {
                None => drop(state.channels.remove(&task)),
                // The receiver is not taken yet. Keep its messages, and end the channel after them.
                Some(_) => channel.sender = mpsc::unbounded_channel().0,
            }
        }
    }

    /// Returns a receiver of the task's outcome, which arrives at once if the task has ended. An unknown task counts as
    /// failed, and so does a task that was open when the try stopped.
    pub fn watch(&self, task: TaskId) -> oneshot::Receiver<TaskOutcome> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let outcome = match state.tasks.get_mut(&task) {
            Some(KnownTask::Open(waiting)) => {
                waiting.push(sender);
                return receiver;
            }
            Some(KnownTask::Ended(outcome)) => *outcome,
            None => TaskOutcome::Failed,
        };
        let _ = sender.send(outcome);
        receiver
    }

    /// Sends a notice for each of the `subscriptions` when its task ends. `task` returns the task with an id. `notify`
    /// sends a notice, and returns false if the notices have no receiver any more.
    ///
    /// Returns when the sender of `subscriptions` is dropped and the last notice is sent, or when `notify` returns
    /// false. It must not return earlier: SP1 flushes the last precompile shards when the notices end.
    pub async fn notify_all<Id>(
        &self,
        mut subscriptions: mpsc::UnboundedReceiver<Id>,
        task: impl Fn(&Id) -> Option<TaskId>,
        notify: impl Fn(Id, TaskOutcome) -> bool,
    ) {
        let mut waiting = FuturesUnordered::new();
        let mut may_subscribe = true;
        while may_subscribe || !waiting.is_empty() {
            tokio::select! {
                subscription = subscriptions.recv(), if may_subscribe => match subscription {
                    Some(id) => {
                        let watch = task(&id).map(|task| self.watch(task));
                        waiting.push(async move {
                            let outcome = match watch {
                                Some(watch) => watch.await.unwrap_or(TaskOutcome::Failed),
                                None => TaskOutcome::Failed,
                            };
                            (id, outcome)
                        });
                    }
                    None => may_subscribe = false,
                },
                Some((id, outcome)) = waiting.next(), if !waiting.is_empty() => {
                    if !notify(id, outcome) {
                        return;
                    }
                }
            }
        }
    }

    /// Sends a message on a task's channel. Returns false if no receiver can read it.
    pub fn send(&self, task: TaskId, message: Vec<u8>) -> bool {
        let mut state = self.lock();
        if state.closed || matches!(state.tasks.get(&task), Some(KnownTask::Ended(_))) {
            return false;
        }
        state.channels.entry(task).or_insert_with(MessageChannel::new).sender.send(message).is_ok()
    }

    /// Takes the only receiver of a task's channel; `None` if it is already taken. After the end of the task or of its
    /// try, always returns a receiver: it yields the messages that are left, and then ends.
    pub fn take_receiver(&self, task: TaskId) -> Option<mpsc::UnboundedReceiver<Vec<u8>>> {
        let mut state = self.lock();
        let ended = state.closed || matches!(state.tasks.get(&task), Some(KnownTask::Ended(_)));
        if ended {
            let kept = state.channels.remove(&task).and_then(|channel| channel.receiver);
            return Some(kept.unwrap_or_else(|| mpsc::unbounded_channel().1));
        }
        state.channels.entry(task).or_insert_with(MessageChannel::new).receiver.take()
    }

    /// Ends everything when the try stops: every open task fails, and every channel closes.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for task in state.tasks.values_mut() {
            if let KnownTask::Open(waiting) = task {
                for waiter in std::mem::take(waiting) {
                    let _ = waiter.send(TaskOutcome::Failed);
                }
                *task = KnownTask::Ended(TaskOutcome::Failed);
            }
        }
        state.channels.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const A: TaskId = TaskId(1);
    const B: TaskId = TaskId(2);

    fn check(outcomes: &TaskOutcomes, task: TaskId, expected: Option<TaskOutcome>) {
        assert_eq!(outcomes.watch(task).try_recv().ok(), expected);
    }

    #[test]
    fn all_subscribers_are_notified_and_late_ones_at_once() {
        let outcomes = TaskOutcomes::default();
        outcomes.open(A);
        let (mut first, mut second) = (outcomes.watch(A), outcomes.watch(A));
        check(&outcomes, A, None);
        outcomes.end(A, TaskOutcome::Succeeded);
        assert_eq!(first.try_recv(), Ok(TaskOutcome::Succeeded));
        assert_eq!(second.try_recv(), Ok(TaskOutcome::Succeeded));
        check(&outcomes, A, Some(TaskOutcome::Succeeded));
    }

    #[test]
    fn second_completion_of_a_task_changes_nothing() {
        let outcomes = TaskOutcomes::default();
        outcomes.open(A);
        outcomes.end(A, TaskOutcome::Succeeded);
        outcomes.end(A, TaskOutcome::Failed);
        outcomes.open(A);
        check(&outcomes, A, Some(TaskOutcome::Succeeded));
    }

    #[test]
    fn an_unknown_task_counts_as_failed() {
        check(&TaskOutcomes::default(), A, Some(TaskOutcome::Failed));
    }

    #[test]
    fn closing_fails_open_tasks_and_ends_channels() {
        let outcomes = TaskOutcomes::default();
        outcomes.open(A);
        outcomes.open(B);
        outcomes.end(B, TaskOutcome::Succeeded);
        let mut waiting = outcomes.watch(A);
        let mut receiver = outcomes.take_receiver(A).unwrap();
        assert!(outcomes.send(A, vec![1]));
        outcomes.close();
        assert_eq!(waiting.try_recv(), Ok(TaskOutcome::Failed));
        assert_eq!(receiver.try_recv(), Ok(vec![1]));
        assert_eq!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        check(&outcomes, B, Some(TaskOutcome::Succeeded));
        outcomes.open(TaskId(3));
        check(&outcomes, TaskId(3), Some(TaskOutcome::Failed));
        assert!(!outcomes.send(A, vec![2]));
    }

    /// Starts a subscriber of `outcomes`. Returns the sender of its subscriptions and the receiver of its notices.
    fn start_subscriber(
        outcomes: &Arc<TaskOutcomes>,
    ) -> (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<(u64, TaskOutcome)>) {
        let (subscribe, subscriptions) = mpsc::unbounded_channel();
        let (notices, received_notices) = mpsc::unbounded_channel();
        let outcomes = outcomes.clone();
        tokio::spawn(async move {
            let task = |id: &u64| (*id < 100).then_some(TaskId(*id));
            outcomes.notify_all(subscriptions, task, |id, outcome| notices.send((id, outcome)).is_ok()).await;
        });
        (subscribe, received_notices)
    }

    #[tokio::test]
    async fn notices_end_after_the_last_subscription_is_notified() {
        let outcomes = Arc::new(TaskOutcomes::default());
        outcomes.open(A);
        outcomes.open(B);
        let (subscriptions, mut notices) = start_subscriber(&outcomes);
        subscriptions.send(1).unwrap();
        subscriptions.send(1).unwrap();
        subscriptions.send(2).unwrap();
        outcomes.end(A, TaskOutcome::Succeeded);
        assert_eq!(notices.recv().await, Some((1, TaskOutcome::Succeeded)));
        assert_eq!(notices.recv().await, Some((1, TaskOutcome::Succeeded)));
        drop(subscriptions);
        tokio::task::yield_now().await;
        assert_eq!(notices.try_recv(), Err(mpsc::error::TryRecvError::Empty), "one subscription is still open");
        outcomes.end(B, TaskOutcome::Failed);
        assert_eq!(notices.recv().await, Some((2, TaskOutcome::Failed)));
        assert_eq!(notices.recv().await, None);
    }

    #[tokio::test]
    async fn a_subscriber_stays_while_it_can_still_subscribe() {
        let outcomes = Arc::new(TaskOutcomes::default());
        outcomes.open(A);
        outcomes.end(A, TaskOutcome::Succeeded);
        let (subscriptions, mut notices) = start_subscriber(&outcomes);
        tokio::task::yield_now().await;
        assert_eq!(notices.try_recv(), Err(mpsc::error::TryRecvError::Empty));
        subscriptions.send(1).unwrap();
        subscriptions.send(100).unwrap();
        assert_eq!(notices.recv().await, Some((1, TaskOutcome::Succeeded)));
        assert_eq!(notices.recv().await, Some((100, TaskOutcome::Failed)), "an id without a task counts as failed");
        drop(subscriptions);
        assert_eq!(notices.recv().await, None);
    }

    #[test]
    fn messages_sent_before_the_receiver_is_taken_are_kept() {
        let outcomes = TaskOutcomes::default();
        outcomes.open(A);
        assert!(outcomes.send(A, vec![1]));
        let mut receiver = outcomes.take_receiver(A).unwrap();
        assert!(outcomes.send(A, vec![2]));
        assert!(outcomes.take_receiver(A).is_none(), "a channel has only one receiver");
        outcomes.end(A, TaskOutcome::Failed);
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(vec![1]), Ok(vec![2])));
        assert_eq!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn a_receiver_taken_after_the_end_reads_earlier_messages() {
        let outcomes = TaskOutcomes::default();
        outcomes.open(A);
        assert!(outcomes.send(A, vec![1]));
        outcomes.end(A, TaskOutcome::Succeeded);
        assert!(!outcomes.send(A, vec![2]));
        let mut receiver = outcomes.take_receiver(A).unwrap();
        assert_eq!(receiver.try_recv(), Ok(vec![1]));
        assert_eq!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }
}
