//! What a worker has said and delivered of an attempt, to be said and delivered again when the connection or the
//! orchestrator is another one.

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

/// Bytes of what an attempt delivers that are kept until its end: results are a megabyte or two, and most shards have
/// few events. One that delivers more ends with its orchestrator.
const MOST_KEPT: usize = 64 << 20;

/// Something to say of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saying {
    /// It was begun.
    Started,
    /// Its marker is complete.
    Marker,
    /// It was done, after so many milliseconds of proving.
    Done(u64),
    /// It failed.
    Failed(AttemptError),
}

impl Saying {
    /// The order in which things are said. Of two in the same place, the later counts.
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

/// Something that an attempt delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Product {
    /// The output at this place among those that it was asked for.
    Asked(usize),
    /// What it made on its own account, by name.
    Made(String),
}

/// A session, and what it calls an attempt and its outputs.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) session: Session,
    pub(crate) attempt: AttemptId,
    pub(crate) outputs: Arc<[String]>,
}

impl Line {
    pub(crate) fn name(&self, product: &Product) -> String {
        match product {
            // Whoever asks for fewer gets a name that nobody asked for.
            Product::Asked(place) => self.outputs.get(*place).cloned().unwrap_or_default(),
            Product::Made(name) => name.clone(),
        }
    }
}

#[derive(Default)]
struct Record {
    sayings: BTreeMap<usize, Saying>,
    deliveries: Vec<Delivery>,
    bytes: usize,
    /// Not everything that it delivered is here, and what has arrived need not stay.
    incomplete: bool,
}

#[derive(Clone)]
struct Delivery {
    product: Product,
    content: Bytes,
    /// Under which number of the attempt it last arrived.
    arrived: Option<AttemptId>,
}

impl Record {
    /// No other orchestrator can go on with it. What has not arrived still has to.
    fn give_up(&mut self) {
        self.incomplete = true;
        let arrived = self.deliveries.iter_mut().filter(|delivery| delivery.arrived.is_some());
        arrived.for_each(|delivery| delivery.content = Bytes::new());
    }
}

/// What was said and delivered of one attempt.
///
/// A message that left is not a message that arrived. So each is kept, and all are said again when another session
/// takes the attempt over: an orchestrator that hears one twice makes nothing of it. What is delivered is kept for an
/// orchestrator that was restarted and lost what it had.
pub(crate) struct Said {
    line: watch::Sender<Option<Line>>,
    /// What it is called, and its outputs, also while there is no line.
    called: Mutex<(AttemptId, Arc<[String]>)>,
    record: Mutex<Record>,
    /// Held while things are said: none of it comes before what it tells of.
    order: tokio::sync::Mutex<()>,
}

impl Said {
    /// Nothing is said yet; `line` has the attempt. What it delivers is kept if `keeps`.
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

    /// A line by which `session` has the attempt as the last one had it.
    pub(crate) fn line_on(&self, session: &Session) -> Line {
        let (attempt, outputs) = self.called.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Line { session: session.clone(), attempt, outputs }
    }

    /// The line that has the attempt now and later; none while there is none.
    pub(crate) fn line(&self) -> watch::Receiver<Option<Line>> {
        self.line.subscribe()
    }

    /// Says `saying` now, if there is a session, and again to every later one.
    pub(crate) async fn say(&self, saying: Saying) {
        let _order = self.order.lock().await;
        self.record().sayings.insert(saying.place(), saying.clone());
        let present = self.line.borrow().clone();
        if let Some(Line { session, attempt, .. }) = present {
            session.tell(saying.message(attempt)).await;
        }
    }

    /// Keeps what is about to be delivered; its place among what is kept, if it is.
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

    /// What is kept at `place` has arrived as a delivery of `attempt`.
    pub(crate) fn arrived(&self, place: usize, attempt: AttemptId) {
        let mut record = self.record();
        if let Some(delivery) = record.deliveries.get_mut(place) {
            delivery.arrived = Some(attempt);
        }
        if record.incomplete {
            record.give_up();
        }
    }

    /// True when an orchestrator that was restarted could go on with the attempt: it has begun, has not failed, and all
    /// that it delivered is here.
    pub(crate) fn outlives_its_orchestrator(&self) -> bool {
        let record = self.record();
        let failed = record.sayings.values().any(|saying| matches!(saying, Saying::Failed(_)));
        record.sayings.contains_key(&Saying::Started.place()) && !failed && !record.incomplete
    }

    /// Needs what only its orchestrator had, and ends with it.
    pub(crate) fn depends_on_its_orchestrator(&self) {
        self.record().give_up();
    }

    /// The attempt has another number and other names for its outputs from now on.
    pub(crate) fn rename(&self, attempt: AttemptId, outputs: Arc<[String]>) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = (attempt, outputs);
    }

    /// No session has the attempt any more.
    pub(crate) fn detach(&self) {
        self.line.send_replace(None);
    }

    /// `line` has the attempt now. It gets what has not arrived there, and hears everything.
    ///
    /// # Errors
    /// When something is not taken, and the attempt has failed by that.
    pub(crate) async fn attach(&self, line: Line) -> Result<(), AttemptError> {
        let _order = self.order.lock().await;
        // First: what is delivered from now on goes there as well, and twice is better than not at all.
        self.line.send_replace(Some(line.clone()));
        // Whoever closes a session detaches it afterwards, and may have done so before it was put there.
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
                // The next session goes on here.
                Err(status) if status.is_doubtful() && line.session.is_ending().await => return Ok(()),
                Err(status) => {
                    let text = format!("deliver {name}: {}", status.message());
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

    /// Says everything to nobody.
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
    async fn what_has_not_arrived_stays_when_there_is_too_much() {
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
    async fn a_session_that_is_over_takes_nothing() {
        let said = said(true);
        said.say(Saying::Started).await;
        said.detach();
        let present = said.line_on(&session());
        present.session.closer.close();
        assert_eq!(said.attach(present).await, Ok(()));
        assert!(said.line.borrow().is_none());
    }

    #[tokio::test]
    async fn a_new_name_holds_at_once() {
        let said = said(true);
        said.rename(AttemptId(2), ["other".to_owned()].into());
        let line = said.line_on(&session());
        assert_eq!((line.attempt, line.name(&Product::Asked(0))), (AttemptId(2), "other".to_owned()));
        assert_eq!((line.name(&Product::Asked(9)), line.name(&Product::Made("a".into()))), (String::new(), "a".into()));
    }

    #[tokio::test]
    async fn what_has_begun_and_is_all_here_outlives_its_orchestrator() {
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
