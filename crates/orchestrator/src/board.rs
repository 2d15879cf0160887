//! Statuses of a proof's tasks, who waits for them, and the message channels between tasks.
//!
//! It holds to the contract of SP1's callers: only final statuses are told; asking about a task that has ended is
//! answered at once; several may ask about one task; first success is final; a channel is made by whoever comes first,
//! keeps what was sent before its one receiver came, and ends with its task; when the proof ends every open question is
//! answered with failure before the channels close.

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
    /// Its result is there.
    Succeeded,
    /// It will never be.
    Failed,
}

/// See the module's documentation.
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

    /// Makes a task known.
    pub fn open(&self, task: TaskId) {
        let mut state = self.lock();
        if !state.closed {
            state.tasks.entry(task).or_insert_with(|| Task::Open(Vec::new()));
        }
    }

    /// Ends a task and answers everybody who waits for it. A task that has ended already, or is unknown, stays as it
    /// is.
    pub fn end(&self, task: TaskId, outcome: Outcome) {
        let mut state = self.lock();
        let Some(entry) = state.tasks.get_mut(&task) else { return };
        let Task::Open(waiting) = entry else { return };
        for waiter in std::mem::take(waiting) {
            // Whoever stopped waiting needs no answer.
            let _ = waiter.send(outcome);
        }
        *entry = Task::Ended(outcome);
        // Dropping the sender ends the channel; what was sent can still be read by a receiver that has it.
        if let Some(channel) = state.channels.get_mut(&task) {
            match channel.receiver {
                None => drop(state.channels.remove(&task)),
                // Nobody came yet: keep what was sent, and let it end there.
                Some(_) => channel.sender = mpsc::unbounded_channel().0,
            }
        }
    }

    /// Resolves to the task's end: at once when it has ended. An unknown task, or one of a proof that is over, has
    /// failed.
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

    /// Answers what is asked on `asked` about tasks, each when it ends, until the asking half is gone *and* everything
    /// asked was answered: SP1 flushes the last precompile shards when the answers end. `task` finds the task that an
    /// id names; `answer` passes an answer on and says whether anybody still listens.
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

    /// Sends a message on a task's channel. `false` when nobody will read it.
    pub fn send(&self, task: TaskId, message: Vec<u8>) -> bool {
        let mut state = self.lock();
        if state.closed || matches!(state.tasks.get(&task), Some(Task::Ended(_))) {
            return false;
        }
        state.channels.entry(task).or_insert_with(Channel::new).sender.send(message).is_ok()
    }

    /// The one receiver of a task's channel; `None` when it is taken.
    pub fn receive(&self, task: TaskId) -> Option<mpsc::UnboundedReceiver<Vec<u8>>> {
        let mut state = self.lock();
        let ended = state.closed || matches!(state.tasks.get(&task), Some(Task::Ended(_)));
        if ended {
            let kept = state.channels.remove(&task).and_then(|channel| channel.receiver);
            return Some(kept.unwrap_or_else(|| mpsc::unbounded_channel().1));
        }
        state.channels.entry(task).or_insert_with(Channel::new).receiver.take()
    }

    /// Ends everything: every open task has failed, every channel ends.
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
    fn everybody_who_waits_is_answered_and_late_comers_at_once() {
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
    fn an_unknown_task_has_failed_rather_than_hang() {
        check(&TaskBoard::default(), A, Some(Outcome::Failed));
    }

    #[test]
    fn closing_answers_every_open_question_and_ends_every_channel() {
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

    /// A subscriber of `board`: its asking half, its answers.
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
    async fn a_subscribers_answers_end_when_nobody_asks_and_all_is_answered() {
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
        assert_eq!(answers.try_recv(), Err(mpsc::error::TryRecvError::Empty), "one question is still open");
        board.end(B, Outcome::Failed);
        assert_eq!(answers.recv().await, Some((2, Outcome::Failed)));
        assert_eq!(answers.recv().await, None);
    }

    #[tokio::test]
    async fn a_subscriber_with_nothing_open_stays_as_long_as_it_may_ask() {
        let board = Arc::new(TaskBoard::default());
        board.open(A);
        board.end(A, Outcome::Succeeded);
        let (asks, mut answers) = subscribe(&board);
        tokio::task::yield_now().await;
        assert_eq!(answers.try_recv(), Err(mpsc::error::TryRecvError::Empty));
        asks.send(1).unwrap();
        asks.send(100).unwrap();
        assert_eq!(answers.recv().await, Some((1, Outcome::Succeeded)));
        assert_eq!(answers.recv().await, Some((100, Outcome::Failed)), "an id that names no task");
        drop(asks);
        assert_eq!(answers.recv().await, None);
    }

    #[test]
    fn messages_sent_before_the_receiver_comes_are_kept() {
        let board = TaskBoard::default();
        board.open(A);
        assert!(board.send(A, vec![1]));
        let mut receiver = board.receive(A).unwrap();
        assert!(board.send(A, vec![2]));
        assert!(board.receive(A).is_none(), "a channel has one receiver");
        board.end(A, Outcome::Failed);
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(vec![1]), Ok(vec![2])));
        assert_eq!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn a_receiver_that_comes_after_the_end_reads_what_was_sent() {
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
