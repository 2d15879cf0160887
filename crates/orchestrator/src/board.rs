//! The task tracker: the statuses of a proof's tasks, the subscribers that wait for them, and the message channels
//! between tasks.
//!
//! It keeps the contract that SP1's clients expect:
//! - Subscribers only receive final statuses.
//! - A subscription to a task that has ended resolves at once.
//! - Several subscribers may wait for one task.
//! - The first outcome of a task is final.
//! - The first sender or receiver that uses a channel creates it. The channel keeps messages until its only receiver
//!   comes, and it ends with its task.
//! - When the proof ends, all open subscriptions fail before the channels close.

use futures::{StreamExt, stream::FuturesUnordered};
use scheduler::TaskId;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its result is available.
    Succeeded,
    /// It failed, so there will be no result.
    Failed,
}

/// The task tracker of a proof: the final statuses of its tasks, and the message channels between them.
#[derive(Debug, Default)]
pub struct TaskBoard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tasks: HashMap<TaskId, Task>,
    channels: HashMap<TaskId, Channel>,
    closed: bool,
}

#[derive(Debug)]
enum Task {
    Open(Vec<oneshot::Sender<Outcome>>),
    Ended(Outcome),
}

#[derive(Debug)]
struct Channel {
    sender: mpsc::UnboundedSender<Vec<u8>>,
    receiver: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl Channel {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Some(receiver) }
    }
}

impl TaskBoard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a new task. Does nothing if the task is known or if the proof has ended.
    pub fn open(&self, task: TaskId) {
        let mut state = self.lock();
        if !state.closed {
            state.tasks.entry(task).or_insert_with(|| Task::Open(Vec::new()));
        }
    }

    /// Ends a task and notifies its subscribers. Does nothing if the task is unknown or has already ended.
    pub fn end(&self, task: TaskId, outcome: Outcome) {
        let mut state = self.lock();
        let Some(entry) = state.tasks.get_mut(&task) else { return };
        let Task::Open(waiting) = entry else { return };
        for waiter in std::mem::take(waiting) {
            // A subscriber may have stopped waiting.
            let _ = waiter.send(outcome);
        }
        *entry = Task::Ended(outcome);
        // Dropping the sender ends the channel. A receiver that was taken can still read the messages.
        if let Some(channel) = state.channels.get_mut(&task) {
            match channel.receiver {
                None => drop(state.channels.remove(&task)),
                // The receiver is not taken yet. Keep its messages, and end the channel after them.
                Some(_) => channel.sender = mpsc::unbounded_channel().0,
            }
        }
    }

    /// Returns a receiver of the task's outcome, which arrives at once if the task has ended. An unknown task has
    /// failed, and so has a task that was still open when the proof ended.
    pub fn watch(&self, task: TaskId) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let answer = match state.tasks.get_mut(&task) {
            Some(Task::Open(waiting)) => {
                waiting.push(sender);
                return receiver;
            }
            Some(Task::Ended(outcome)) => *outcome,
            None => Outcome::Failed,
        };
        let _ = sender.send(answer);
        receiver
    }

    /// Answers the subscriptions that arrive on `asked`, each when its task ends. Returns when the sender of `asked` is
    /// dropped *and* every subscription was answered, because SP1 flushes the last precompile shards when the answers
    /// end. `task` returns the task with an id. `answer` sends an answer. If it returns false, no one receives answers
    /// any more, and this function returns.
    pub async fn answer_all<Id>(
        &self,
        mut asked: mpsc::UnboundedReceiver<Id>,
        task: impl Fn(&Id) -> Option<TaskId>,
        answer: impl Fn(Id, Outcome) -> bool,
    ) {
        let mut waiting = FuturesUnordered::new();
        let mut asking = true;
        while asking || !waiting.is_empty() {
            tokio::select! {
                ask = asked.recv(), if asking => match ask {
                    Some(id) => {
                        let watch = task(&id).map(|task| self.watch(task));
                        waiting.push(async move {
                            let outcome = match watch {
                                Some(watch) => watch.await.unwrap_or(Outcome::Failed),
                                None => Outcome::Failed,
                            };
                            (id, outcome)
                        });
                    }
                    None => asking = false,
                },
                Some((id, outcome)) = waiting.next(), if !waiting.is_empty() => {
                    if !answer(id, outcome) {
                        return;
                    }
                }
            }
        }
    }

    /// Sends a message on a task's channel. Returns false if no receiver can read it.
    pub fn send(&self, task: TaskId, message: Vec<u8>) -> bool {
        let mut state = self.lock();
        if state.closed || matches!(state.tasks.get(&task), Some(Task::Ended(_))) {
            return false;
        }
        state.channels.entry(task).or_insert_with(Channel::new).sender.send(message).is_ok()
    }

    /// Returns the only receiver of a task's channel; `None` if it is already taken.
    pub fn receive(&self, task: TaskId) -> Option<mpsc::UnboundedReceiver<Vec<u8>>> {
        let mut state = self.lock();
        let ended = state.closed || matches!(state.tasks.get(&task), Some(Task::Ended(_)));
        if ended {
            let kept = state.channels.remove(&task).and_then(|channel| channel.receiver);
            return Some(kept.unwrap_or_else(|| mpsc::unbounded_channel().1));
        }
        state.channels.entry(task).or_insert_with(Channel::new).receiver.take()
    }

    /// Ends everything when the proof ends: every open task fails, and every channel closes.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for task in state.tasks.values_mut() {
            if let Task::Open(waiting) = task {
                for waiter in std::mem::take(waiting) {
                    let _ = waiter.send(Outcome::Failed);
                }
                *task = Task::Ended(Outcome::Failed);
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

    fn check(board: &TaskBoard, task: TaskId, expected: Option<Outcome>) {
        assert_eq!(board.watch(task).try_recv().ok(), expected);
    }

    #[test]
    fn all_subscribers_are_notified_and_late_ones_at_once() {
        let board = TaskBoard::default();
        board.open(A);
        let (mut first, mut second) = (board.watch(A), board.watch(A));
        check(&board, A, None);
        board.end(A, Outcome::Succeeded);
        assert_eq!(first.try_recv(), Ok(Outcome::Succeeded));
        assert_eq!(second.try_recv(), Ok(Outcome::Succeeded));
        check(&board, A, Some(Outcome::Succeeded));
    }

    #[test]
    fn second_completion_of_a_task_changes_nothing() {
        let board = TaskBoard::default();
        board.open(A);
        board.end(A, Outcome::Succeeded);
        board.end(A, Outcome::Failed);
        board.open(A);
        check(&board, A, Some(Outcome::Succeeded));
    }

    #[test]
    fn an_unknown_task_counts_as_failed() {
        check(&TaskBoard::default(), A, Some(Outcome::Failed));
    }

    #[test]
    fn closing_fails_open_tasks_and_ends_channels() {
        let board = TaskBoard::default();
        board.open(A);
        board.open(B);
        board.end(B, Outcome::Succeeded);
        let mut waiting = board.watch(A);
        let mut receiver = board.receive(A).unwrap();
        assert!(board.send(A, vec![1]));
        board.close();
        assert_eq!(waiting.try_recv(), Ok(Outcome::Failed));
        assert_eq!(receiver.try_recv(), Ok(vec![1]));
        assert_eq!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        check(&board, B, Some(Outcome::Succeeded));
        board.open(TaskId(3));
        check(&board, TaskId(3), Some(Outcome::Failed));
        assert!(!board.send(A, vec![2]));
    }

    /// Starts a subscriber of `board`. Returns the sender of its subscriptions and the receiver of its answers.
    fn subscribe(board: &Arc<TaskBoard>) -> (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<(u64, Outcome)>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let (answers, answered) = mpsc::unbounded_channel();
        let board = board.clone();
        tokio::spawn(async move {
            let task = |id: &u64| (*id < 100).then_some(TaskId(*id));
            board.answer_all(asked, task, |id, outcome| answers.send((id, outcome)).is_ok()).await;
        });
        (asks, answered)
    }

    #[tokio::test]
    async fn answers_end_after_the_last_subscription_is_answered() {
        let board = Arc::new(TaskBoard::default());
        board.open(A);
        board.open(B);
        let (asks, mut answers) = subscribe(&board);
        asks.send(1).unwrap();
        asks.send(1).unwrap();
        asks.send(2).unwrap();
        board.end(A, Outcome::Succeeded);
        assert_eq!(answers.recv().await, Some((1, Outcome::Succeeded)));
        assert_eq!(answers.recv().await, Some((1, Outcome::Succeeded)));
        drop(asks);
        tokio::task::yield_now().await;
        assert_eq!(answers.try_recv(), Err(mpsc::error::TryRecvError::Empty), "one subscription is still open");
        board.end(B, Outcome::Failed);
        assert_eq!(answers.recv().await, Some((2, Outcome::Failed)));
        assert_eq!(answers.recv().await, None);
    }

    #[tokio::test]
    async fn a_subscriber_stays_while_it_can_still_subscribe() {
        let board = Arc::new(TaskBoard::default());
        board.open(A);
        board.end(A, Outcome::Succeeded);
        let (asks, mut answers) = subscribe(&board);
        tokio::task::yield_now().await;
        assert_eq!(answers.try_recv(), Err(mpsc::error::TryRecvError::Empty));
        asks.send(1).unwrap();
        asks.send(100).unwrap();
        assert_eq!(answers.recv().await, Some((1, Outcome::Succeeded)));
        assert_eq!(answers.recv().await, Some((100, Outcome::Failed)), "an id without a task counts as failed");
        drop(asks);
        assert_eq!(answers.recv().await, None);
    }

    #[test]
    fn messages_sent_before_the_receiver_is_taken_are_kept() {
        let board = TaskBoard::default();
        board.open(A);
        assert!(board.send(A, vec![1]));
        let mut receiver = board.receive(A).unwrap();
        assert!(board.send(A, vec![2]));
        assert!(board.receive(A).is_none(), "a channel has only one receiver");
        board.end(A, Outcome::Failed);
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(vec![1]), Ok(vec![2])));
        assert_eq!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn a_receiver_taken_after_the_end_reads_earlier_messages() {
        let board = TaskBoard::default();
        board.open(A);
        assert!(board.send(A, vec![1]));
        board.end(A, Outcome::Succeeded);
        assert!(!board.send(A, vec![2]));
        let mut receiver = board.receive(A).unwrap();
        assert_eq!(receiver.try_recv(), Ok(vec![1]));
        assert_eq!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }
}
