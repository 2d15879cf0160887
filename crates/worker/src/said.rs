//! What a worker has said of an attempt, to be said again over the next connection when one is lost.

use crate::transfer::Session;
use protocol::wire::from_worker::Message;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// What there is to say of an attempt, in the order in which it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Saying {
    /// It was begun.
    Started,
    /// Its marker is complete.
    Marker,
    /// It was done, or failed.
    Outcome,
}

/// What was said of one attempt.
///
/// A message that left is not a message that arrived. So each is kept, and all are said again when another session takes the attempt over: an
/// orchestrator that hears one twice makes nothing of it.
pub(crate) struct Said {
    session: watch::Sender<Option<Session>>,
    messages: Mutex<BTreeMap<Saying, Message>>,
}

impl Said {
    /// Nothing is said yet; `session` has the attempt.
    pub(crate) fn new(session: Session) -> Self {
        Self { session: watch::Sender::new(Some(session)), messages: Mutex::default() }
    }

    /// The session that has the attempt now and later; none while there is none.
    pub(crate) fn session(&self) -> watch::Receiver<Option<Session>> {
        self.session.subscribe()
    }

    fn present(&self) -> Option<Session> {
        self.session.borrow().clone()
    }

    /// Says `message` now, if there is a session, and again to every later one.
    pub(crate) async fn say(&self, what: Saying, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).insert(what, message.clone());
        if let Some(session) = self.present() {
            session.tell(message).await;
        }
    }

    /// No session has the attempt any more.
    pub(crate) fn detach(&self) {
        self.session.send_replace(None);
    }

    /// `session` has the attempt now, and hears everything.
    pub(crate) async fn attach(&self, session: Session) {
        // First: what is said from now on goes to the session as well, and heard twice is better than not at all.
        self.session.send_replace(Some(session.clone()));
        let messages: Vec<Message> =
            self.messages.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for message in messages {
            session.tell(message).await;
        }
    }
}
