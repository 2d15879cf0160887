//! The attempt journal: what a worker has reported and delivered for an attempt. The journal is sent again after a
//! reconnect, and after a restart of the orchestrator.

use crate::{
    engine::AttemptError,
    transfer::{Doubtful, Session},
};
use bytes::Bytes;
use protocol::{
    FailureKind, Limits,
    wire::{self, from_worker::Message},
};
use scheduler::AttemptId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Maximum number of delivered bytes that are kept per attempt. A result has one or two megabytes, and most shards have
/// few events. An attempt that delivers more cannot be resumed after a restart of its orchestrator.
const MOST_KEPT: usize = 64 << 20;

/// A report about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saying {
    /// The attempt has started.
    Started,
    /// The attempt's marker is complete.
    Marker,
    /// The attempt is done. The number is its proving time in milliseconds.
    Done(u64),
    /// The attempt has failed.
    Failed(AttemptError),
}

impl Saying {
    /// Returns the position of this report in the sending order. A later report with the same position replaces the
    /// earlier report.
    const fn place(&self) -> usize {
        match self {
            Self::Started => 0,
            Self::Marker => 1,
            Self::Done(_) | Self::Failed(_) => 2,
        }
    }

    pub(crate) fn message(self, attempt: AttemptId) -> Message {
        let attempt = attempt.0;
        match self {
            Self::Started => Message::Started(wire::Started { attempt }),
            Self::Marker => Message::MarkerComplete(wire::MarkerComplete { attempt }),
            Self::Done(proving_ms) => Message::Done(wire::Done { attempt, proving_ms }),
            Self::Failed(AttemptError { kind, mut text }) => {
                text.truncate(text.floor_char_boundary(Limits::FAILURE_BYTES));
                Message::Failed(wire::Failed { attempt, kind: wire::FailureKind::from(kind).into(), text })
            }
        }
    }
}

/// An artifact that an attempt delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Product {
    /// A requested output, by its index in the assignment.
    Asked(usize),
    /// An artifact that the attempt makes in addition to the requested outputs, by name.
    Made(String),
}

/// A session, with the attempt's number and output names in this session.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) session: Session,
    pub(crate) attempt: AttemptId,
    pub(crate) outputs: Arc<[String]>,
}

impl Line {
    pub(crate) fn name(&self, product: &Product) -> String {
        match product {
            // If this assignment has fewer outputs than the first one, use a name that no assignment requests.
            Product::Asked(place) => self.outputs.get(*place).cloned().unwrap_or_default(),
            Product::Made(name) => name.clone(),
        }
    }
}

/// The contents of a journal.
#[derive(Default)]
struct Record {
    sayings: BTreeMap<usize, Saying>,
    deliveries: Vec<Delivery>,
    bytes: usize,
    /// The journal does not have all deliveries. Deliveries that have arrived need not be kept.
    incomplete: bool,
}

#[derive(Clone)]
struct Delivery {
    product: Product,
    content: Bytes,
    /// The attempt number under which the delivery last arrived.
    arrived: Option<AttemptId>,
}

impl Record {
    /// Makes the journal incomplete, so that no other run of the orchestrator can resume the attempt. Deliveries that
    /// have not arrived are kept, because they must still arrive.
    fn give_up(&mut self) {
        self.incomplete = true;
        let arrived = self.deliveries.iter_mut().filter(|delivery| delivery.arrived.is_some());
        arrived.for_each(|delivery| delivery.content = Bytes::new());
    }
}

/// The journal of one attempt.
///
/// A message that was sent may not have arrived. So the journal keeps every report, and sends all of them again when
/// another session takes over the attempt. The orchestrator ignores duplicates. Deliveries are kept for an orchestrator
/// that restarts and loses its artifacts.
pub(crate) struct Said {
    line: watch::Sender<Option<Line>>,
    /// The attempt's current number and output names. They are known also while no session is attached.
    called: Mutex<(AttemptId, Arc<[String]>)>,
    record: Mutex<Record>,
    /// Held while reports are sent, so that no report is sent before the deliveries that it refers to.
    order: tokio::sync::Mutex<()>,
}

impl Said {
    /// Creates an empty journal that is attached to `line`. Deliveries are kept if `keeps` is true.
    pub(crate) fn new(line: Line, keeps: bool) -> Self {
        let record = Record { incomplete: !keeps, ..Record::default() };
        Self {
            called: Mutex::new((line.attempt, line.outputs.clone())),
            line: watch::Sender::new(Some(line)),
            record: Mutex::new(record),
            order: tokio::sync::Mutex::default(),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a line on `session` with the attempt's current number and output names.
    pub(crate) fn line_on(&self, session: &Session) -> Line {
        let (attempt, outputs) = self.called.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Line { session: session.clone(), attempt, outputs }
    }

    /// Returns a receiver of the line that the attempt is attached to: `None` while no session is attached.
    pub(crate) fn line(&self) -> watch::Receiver<Option<Line>> {
        self.line.subscribe()
    }

    /// Sends `saying` now if a session is attached, and again on every later session.
    pub(crate) async fn say(&self, saying: Saying) {
        let _order = self.order.lock().await;
        self.record().sayings.insert(saying.place(), saying.clone());
        let present = self.line.borrow().clone();
        if let Some(Line { session, attempt, .. }) = present {
            session.tell(saying.message(attempt)).await;
        }
    }

    /// Keeps an artifact that is about to be delivered. Returns its index among the kept deliveries, or `None` if it is
    /// not kept.
    pub(crate) fn keep(&self, product: Product, content: Bytes) -> Option<usize> {
        let mut record = self.record();
        if record.incomplete || record.bytes + content.len() > MOST_KEPT {
            record.give_up();
            return None;
        }
        record.bytes += content.len();
        record.deliveries.push(Delivery { product, content, arrived: None });
        Some(record.deliveries.len() - 1)
    }

    /// Records that the delivery with index `place` has arrived under the number `attempt`.
    pub(crate) fn arrived(&self, place: usize, attempt: AttemptId) {
        let mut record = self.record();
        if let Some(delivery) = record.deliveries.get_mut(place) {
            delivery.arrived = Some(attempt);
        }
        if record.incomplete {
            record.give_up();
        }
    }

    /// Returns true if a restarted orchestrator can resume the attempt: it has started, it has not failed, and the
    /// journal has all its deliveries.
    pub(crate) fn outlives_its_orchestrator(&self) -> bool {
        let record = self.record();
        let failed = record.sayings.values().any(|saying| matches!(saying, Saying::Failed(_)));
        record.sayings.contains_key(&Saying::Started.place()) && !failed && !record.incomplete
    }

    /// Records that the attempt needs an artifact that only its current orchestrator has. It then ends with this
    /// orchestrator.
    pub(crate) fn depends_on_its_orchestrator(&self) {
        self.record().give_up();
    }

    /// Gives the attempt another number and other output names.
    pub(crate) fn rename(&self, attempt: AttemptId, outputs: Arc<[String]>) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = (attempt, outputs);
    }

    /// Detaches the attempt from its session.
    pub(crate) fn detach(&self) {
        self.line.send_replace(None);
    }

    /// Attaches the attempt to `line`. Sends the deliveries that have not arrived under its number there, then all
    /// reports.
    ///
    /// # Errors
    /// Fails if the orchestrator rejects a delivery. The attempt has then failed.
    pub(crate) async fn attach(&self, line: Line) -> Result<(), AttemptError> {
        let _order = self.order.lock().await;
        // Publish the line first, so that new deliveries use it too. A delivery that is sent twice does no harm.
        self.line.send_replace(Some(line.clone()));
        // A session is detached after it is closed. That may have happened before the line was published.
        if line.session.closer.is_closed() {
            self.line.send_if_modified(|now| now.take_if(|now| now.session.is_same(&line.session)).is_some());
            return Ok(());
        }
        let deliveries = self.record().deliveries.clone();
        for (place, Delivery { product, content, arrived }) in deliveries.into_iter().enumerate() {
            if arrived == Some(line.attempt) {
                continue;
            }
            let name = line.name(&product);
            match line.session.deliver(line.attempt, name.clone(), content).await {
                Ok(()) => self.arrived(place, line.attempt),
                // The next session delivers the rest.
                Err(status) if status.is_doubtful() && line.session.is_ending().await => return Ok(()),
                Err(status) => {
                    let text = format!("cannot deliver {name}: {}", status.message());
                    return Err(AttemptError { kind: FailureKind::Output, text });
                }
            }
        }
        let sayings: Vec<Saying> = self.record().sayings.values().cloned().collect();
        for saying in sayings {
            line.session.tell(saying.message(line.attempt)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Connection, wire::session_client::SessionClient};
    use tokio::sync::mpsc;
    use tonic::transport::Endpoint;

    /// A session whose messages reach no one.
    fn session() -> Session {
        let (_, closer) = Connection::new(tokio::io::empty());
        let client = SessionClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
        Session { client, outbox: mpsc::channel(1).0, closer }
    }

    fn said(keeps: bool) -> Said {
        Said::new(Line { session: session(), attempt: AttemptId(1), outputs: ["proof".to_owned()].into() }, keeps)
    }

    async fn check(keeps: bool, what: impl AsyncFn(&Said), outlives: bool) {
        let said = said(keeps);
        what(&said).await;
        assert_eq!(said.outlives_its_orchestrator(), outlives);
    }

    #[tokio::test]
    async fn a_full_journal_keeps_deliveries_that_have_not_arrived() {
        let said = said(true);
        let deliver = |length| said.keep(Product::Asked(0), vec![0; length].into());
        assert_eq!((deliver(10), deliver(20), deliver(30)), (Some(0), Some(1), Some(2)));
        said.arrived(0, AttemptId(1));
        assert_eq!(deliver(MOST_KEPT), None);
        let lengths = || said.record().deliveries.iter().map(|kept| kept.content.len()).collect::<Vec<_>>();
        assert_eq!(lengths(), [0, 20, 30]);
        said.arrived(2, AttemptId(1));
        assert_eq!(lengths(), [0, 20, 0]);
    }

    #[tokio::test]
    async fn a_closed_session_is_not_attached() {
        let said = said(true);
        said.say(Saying::Started).await;
        said.detach();
        let present = said.line_on(&session());
        present.session.closer.close();
        assert_eq!(said.attach(present).await, Ok(()));
        assert!(said.line.borrow().is_none());
    }

    #[tokio::test]
    async fn a_rename_takes_effect_at_once() {
        let said = said(true);
        said.rename(AttemptId(2), ["other".to_owned()].into());
        let line = said.line_on(&session());
        assert_eq!((line.attempt, line.name(&Product::Asked(0))), (AttemptId(2), "other".to_owned()));
        assert_eq!((line.name(&Product::Asked(9)), line.name(&Product::Made("a".into()))), (String::new(), "a".into()));
    }

    #[tokio::test]
    async fn a_started_attempt_with_a_complete_journal_outlives_its_orchestrator() {
        let begin = async |said: &Said| said.say(Saying::Started).await;
        let deliver = |said: &Said, length| said.keep(Product::Asked(0), vec![0; length].into());
        check(true, async |_| {}, false).await;
        check(true, begin, true).await;
        check(false, begin, false).await;
        check(
            true,
            async |said| {
                begin(said).await;
                assert_eq!((deliver(said, MOST_KEPT), deliver(said, 0)), (Some(0), Some(1)));
                said.say(Saying::Done(7)).await;
            },
            true,
        )
        .await;
        check(
            true,
            async |said| {
                begin(said).await;
                assert_eq!((deliver(said, MOST_KEPT), deliver(said, 1), deliver(said, 0)), (Some(0), None, None));
            },
            false,
        )
        .await;
        check(
            true,
            async |said| {
                begin(said).await;
                said.depends_on_its_orchestrator();
            },
            false,
        )
        .await;
        let failure = AttemptError { kind: FailureKind::Engine, text: "planted".to_owned() };
        check(
            true,
            async |said| {
                begin(said).await;
                said.say(Saying::Failed(failure.clone())).await;
            },
            false,
        )
        .await;
    }
}
