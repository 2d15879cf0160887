//! The attempt journal: what a worker has reported and delivered for an attempt, and the route over which it is sent.
//! The journal is sent again after a reconnect, and after a restart of the orchestrator.

use super::transfer::{RETRY_PAUSE, SessionHandle, TransferError};
use crate::engine::AttemptError;
use bytes::Bytes;
use sp1d_model::AttemptId;
use sp1d_protocol::{
    FailureKind, MessageLimits, TaskOutput, TaskOutputs,
    wire::{self, from_worker::Message},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::watch, time::sleep};
use tonic::Status;

sp1d_model::limits! {
    /// Maximum number of uploaded bytes that are kept per attempt. A result has one or two megabytes, and most shards
    /// have few events. An attempt that delivers more cannot be resumed after a restart of its orchestrator.
    const MAX_JOURNAL_BYTES: usize = 64 << 20; Bytes by Orchestrator;
}

/// A report about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptReport {
    /// The attempt has started.
    Started,
    /// The deferred events of the shard are uploaded.
    DeferredEvents,
    /// The attempt is done. The number is its proving time in milliseconds.
    Done(u64),
    /// The attempt has failed.
    Failed(AttemptError),
}

impl AttemptReport {
    /// Returns the position of this report in the sending order. A later report with the same position replaces the
    /// earlier report.
    pub(super) const fn position(&self) -> usize {
        match self {
            Self::Started => 0,
            Self::DeferredEvents => 1,
            Self::Done(_) | Self::Failed(_) => 2,
        }
    }

    pub(super) fn message(self, attempt: AttemptId) -> Message {
        let attempt = attempt.0;
        match self {
            Self::Started => Message::Started(wire::Started { attempt }),
            Self::DeferredEvents => Message::DeferredEventsUploaded(wire::DeferredEventsUploaded { attempt }),
            Self::Done(proving_ms) => Message::Done(wire::Done { attempt, proving_ms }),
            Self::Failed(AttemptError { kind, mut text }) => {
                text.truncate(text.floor_char_boundary(MessageLimits::FAILURE_BYTES));
                Message::Failed(wire::Failed { attempt, kind: sp1d_protocol::failure_kind_to_wire(kind).into(), text })
            }
        }
    }
}

/// An artifact that an attempt uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptOutput {
    /// An output that the assignment requests. Its name depends on the assignment.
    Requested(TaskOutput),
    /// An artifact that the attempt makes in addition to the requested outputs, by name.
    Additional(String),
}

/// A session, with the attempt's number and output names in this session.
#[derive(Clone)]
pub(super) struct AttemptRoute {
    pub(super) session: SessionHandle,
    pub(super) attempt: AttemptId,
    pub(super) outputs: Arc<TaskOutputs>,
}

impl AttemptRoute {
    pub(super) fn name(&self, output: &AttemptOutput) -> String {
        match output {
            // If this assignment requests fewer outputs than the first one, use a name that no assignment requests.
            AttemptOutput::Requested(output) => self.outputs.name(*output).unwrap_or_default().to_owned(),
            AttemptOutput::Additional(name) => name.clone(),
        }
    }
}

struct JournalContents {
    /// The attempt's current number and output names. They are known also while no session is attached.
    attempt: AttemptId,
    outputs: Arc<TaskOutputs>,
    /// The latest report at each position of the sending order.
    reports: BTreeMap<usize, AttemptReport>,
    /// By index. A delivery is kept as a whole or not at all, so that no delivery is sent without its content.
    deliveries: BTreeMap<usize, JournalDelivery>,
    bytes: usize,
    /// The journal does not have all deliveries, and the attempt keeps its number. So deliveries that have arrived need
    /// not be kept.
    incomplete: bool,
}

struct JournalDelivery {
    output: AttemptOutput,
    content: Bytes,
    /// The delivery has arrived under the attempt's current number. An arrival under an earlier number does not count:
    /// the orchestrator has lost the artifact.
    has_arrived: bool,
}

impl JournalContents {
    /// Makes the journal incomplete, so that the attempt cannot be resumed after the orchestrator restarts. Deliveries
    /// that have not arrived are kept, because they must still arrive.
    fn mark_incomplete(&mut self) {
        self.incomplete = true;
        self.deliveries.retain(|_, delivery| !delivery.has_arrived);
    }

    /// Returns the deliveries that have not arrived under the attempt's current number, with their indexes.
    fn pending(&self) -> Vec<(usize, AttemptOutput, Bytes)> {
        let pending = self.deliveries.iter().filter(|(_, delivery)| !delivery.has_arrived);
        pending.map(|(index, delivery)| (*index, delivery.output.clone(), delivery.content.clone())).collect()
    }

    /// Returns true if a restarted orchestrator can resume the attempt: it has started, it has not failed, and the
    /// journal has all its deliveries.
    fn is_resumable(&self) -> bool {
        let failed = self.reports.values().any(|report| matches!(report, AttemptReport::Failed(_)));
        self.reports.contains_key(&AttemptReport::Started.position()) && !failed && !self.incomplete
    }
}

/// The journal of one attempt.
///
/// A message that was sent may not have arrived. So the journal keeps every report, and sends all of them again when
/// another session continues the attempt. The orchestrator ignores duplicates. Deliveries are kept for an orchestrator
/// that restarts and loses its artifacts.
pub(super) struct AttemptJournal {
    route: watch::Sender<Option<AttemptRoute>>,
    contents: Mutex<JournalContents>,
    /// Held while reports are sent, so that no report is sent before the deliveries that it refers to.
    order: tokio::sync::Mutex<()>,
}

impl AttemptJournal {
    /// Creates an empty journal that is attached to `route`. Deliveries are kept if `keeps_deliveries` is true.
    pub(super) fn new(route: AttemptRoute, keeps_deliveries: bool) -> Self {
        let contents = JournalContents {
            attempt: route.attempt,
            outputs: route.outputs.clone(),
            reports: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            bytes: 0,
            incomplete: !keeps_deliveries,
        };
        Self {
            route: watch::Sender::new(Some(route)),
            contents: Mutex::new(contents),
            order: tokio::sync::Mutex::default(),
        }
    }

    fn contents(&self) -> MutexGuard<'_, JournalContents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a route over `session` with the attempt's current number and output names.
    pub(super) fn route_over(&self, session: &SessionHandle) -> AttemptRoute {
        let contents = self.contents();
        AttemptRoute { session: session.clone(), attempt: contents.attempt, outputs: contents.outputs.clone() }
    }

    /// Returns a receiver of the route that the attempt is attached to: `None` while no session is attached.
    pub(super) fn routes(&self) -> watch::Receiver<Option<AttemptRoute>> {
        self.route.subscribe()
    }

    /// Sends `report` now if a session is attached, and again on every later session.
    pub(super) async fn report(&self, report: AttemptReport) {
        let _order = self.order.lock().await;
        self.contents().reports.insert(report.position(), report.clone());
        let route = self.route.borrow().clone();
        if let Some(AttemptRoute { session, attempt, .. }) = route {
            session.send(report.message(attempt)).await;
        }
    }

    /// Keeps an artifact that is about to be delivered. Returns its index among the kept deliveries, or `None` if it is
    /// not kept.
    pub(super) fn keep(&self, output: AttemptOutput, content: Bytes) -> Option<usize> {
        let mut contents = self.contents();
        if contents.incomplete || contents.bytes + content.len() > MAX_JOURNAL_BYTES {
            contents.mark_incomplete();
            return None;
        }
        contents.bytes += content.len();
        // Deliveries are removed only once the journal is incomplete, and it then keeps no further ones. So no index is
        // used twice.
        let index = contents.deliveries.len();
        contents.deliveries.insert(index, JournalDelivery { output, content, has_arrived: false });
        Some(index)
    }

    /// Records that the delivery with this index has arrived under the number `attempt`. Has no effect if the attempt
    /// has another number now.
    pub(super) fn record_arrival(&self, index: usize, attempt: AttemptId) {
        let mut contents = self.contents();
        if contents.attempt != attempt {
            return;
        }
        if let Some(delivery) = contents.deliveries.get_mut(&index) {
            delivery.has_arrived = true;
        }
        if contents.incomplete {
            contents.mark_incomplete();
        }
    }

    /// Returns true if the attempt has started.
    pub(super) fn has_started(&self) -> bool {
        self.contents().reports.contains_key(&AttemptReport::Started.position())
    }

    /// Returns true if a restarted orchestrator can resume the attempt. This may change at any time, so
    /// [`Self::renumber`] decides it again.
    pub(super) fn is_resumable(&self) -> bool {
        self.contents().is_resumable()
    }

    /// Records that the attempt needs an artifact that only its current orchestrator has. It then ends with this
    /// orchestrator.
    pub(super) fn mark_incomplete(&self) {
        self.contents().mark_incomplete();
    }

    /// Gives the attempt another number and other output names, if it can be resumed. All its deliveries must then
    /// arrive again. Returns false if it cannot be resumed: it then keeps its number.
    pub(super) fn renumber(&self, attempt: AttemptId, outputs: Arc<TaskOutputs>) -> bool {
        let mut contents = self.contents();
        if !contents.is_resumable() {
            return false;
        }
        (contents.attempt, contents.outputs) = (attempt, outputs);
        contents.deliveries.values_mut().for_each(|delivery| delivery.has_arrived = false);
        true
    }

    /// Detaches the attempt from its session.
    pub(super) fn detach(&self) {
        self.route.send_replace(None);
    }

    /// Attaches the attempt to `route`. Sends the deliveries that have not arrived under its number there, then all
    /// reports.
    ///
    /// # Errors
    /// Fails if the orchestrator rejects a delivery. The attempt has then failed.
    pub(super) async fn attach(&self, route: AttemptRoute) -> Result<(), AttemptError> {
        self.attach_with(route, |route, name, content| async move {
            route.session.upload(route.attempt, name, content).await
        })
        .await
    }

    /// Does the same as [`Self::attach`]. `upload` uploads the content of one artifact, with the name that it has on
    /// the route.
    async fn attach_with<F>(
        &self,
        route: AttemptRoute,
        upload: impl Fn(AttemptRoute, String, Bytes) -> F,
    ) -> Result<(), AttemptError>
    where
        F: Future<Output = Result<(), Status>>,
    {
        let _order = self.order.lock().await;
        // Publish the route first, so that new deliveries use it too. A delivery that is sent twice does no harm.
        self.route.send_replace(Some(route.clone()));
        // A session is detached after it is closed. That may have happened before the route was published.
        if route.session.closer.is_closed() {
            self.route.send_if_modified(|now| now.take_if(|now| now.session.is_same(&route.session)).is_some());
            return Ok(());
        }
        let pending = self.contents().pending();
        for (index, output, content) in pending {
            let name = route.name(&output);
            let uploaded = loop {
                match upload(route.clone(), name.clone(), content.clone()).await {
                    Err(status) if status.is_temporary() => {
                        tracing::debug!(error = %status, "transfer failed; trying again");
                        sleep(RETRY_PAUSE).await;
                        // The next session delivers the rest.
                        if route.session.closer.is_closed() {
                            return Ok(());
                        }
                    }
                    uploaded => break uploaded,
                }
            };
            match uploaded {
                Ok(()) => self.record_arrival(index, route.attempt),
                // The next session delivers the rest.
                Err(status) if status.may_be_connection_loss() && route.session.is_ending().await => return Ok(()),
                Err(status) => {
                    let text = format!("cannot deliver {name}: {}", status.message());
                    return Err(AttemptError { kind: FailureKind::Output, text });
                }
            }
        }
        let reports: Vec<AttemptReport> = self.contents().reports.values().cloned().collect();
        for report in reports {
            route.session.send(report.message(route.attempt)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tonic::Code;

    const RESULT: AttemptOutput = AttemptOutput::Requested(TaskOutput::Result);

    const EVENT_LIST: AttemptOutput = AttemptOutput::Requested(TaskOutput::EventList);

    fn outputs(result: &str, event_list: Option<&str>) -> Arc<TaskOutputs> {
        let event_list = event_list.map(str::to_owned);
        Arc::new(TaskOutputs { result: result.to_owned(), event_list })
    }

    fn journal(keeps_deliveries: bool) -> AttemptJournal {
        let outputs = outputs("proof", Some("events"));
        AttemptJournal::new(
            AttemptRoute { session: SessionHandle::unconnected(), attempt: AttemptId(1), outputs },
            keeps_deliveries,
        )
    }

    /// Checks whether the attempt is resumable after `act`, and that it gets another number only if it is.
    async fn check(keeps_deliveries: bool, act: impl AsyncFn(&AttemptJournal), is_resumable: bool) {
        let journal = journal(keeps_deliveries);
        act(&journal).await;
        assert_eq!(journal.is_resumable(), is_resumable);
        assert_eq!(journal.renumber(AttemptId(2), outputs("other", None)), is_resumable);
        let number = AttemptId(if is_resumable { 2 } else { 1 });
        assert_eq!(journal.route_over(&SessionHandle::unconnected()).attempt, number);
    }

    /// Checks the index and the length of each delivery that the next session sends.
    #[track_caller]
    fn check_pending(journal: &AttemptJournal, expected: &[(usize, usize)]) {
        let pending = journal.contents().pending();
        let found: Vec<_> = pending.into_iter().map(|(index, _, content)| (index, content.len())).collect();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_full_journal_keeps_deliveries_that_have_not_arrived() {
        let journal = journal(true);
        let deliver = |length| journal.keep(RESULT, vec![0; length].into());
        assert_eq!((deliver(10), deliver(20), deliver(30)), (Some(0), Some(1), Some(2)));
        journal.record_arrival(0, AttemptId(1));
        assert_eq!(deliver(MAX_JOURNAL_BYTES), None);
        let lengths = || journal.contents().deliveries.values().map(|kept| kept.content.len()).collect::<Vec<_>>();
        assert_eq!(lengths(), [20, 30]);
        journal.record_arrival(2, AttemptId(1));
        assert_eq!(lengths(), [20]);
        check_pending(&journal, &[(1, 20)]);
    }

    #[tokio::test]
    async fn a_delivery_that_arrived_under_an_earlier_number_is_delivered_again_with_its_content() {
        let overfill = |journal: &AttemptJournal| {
            assert_eq!(journal.keep(RESULT, vec![0; MAX_JOURNAL_BYTES].into()), None);
        };
        let ends: [fn(&AttemptJournal); 2] = [AttemptJournal::mark_incomplete, overfill];
        for end in ends {
            let journal = journal(true);
            journal.report(AttemptReport::Started).await;
            assert_eq!(journal.keep(RESULT, vec![0; 10].into()), Some(0));
            journal.record_arrival(0, AttemptId(1));
            check_pending(&journal, &[]);
            assert!(journal.renumber(AttemptId(2), outputs("other", None)));
            check_pending(&journal, &[(0, 10)]);
            // The reply under the earlier number may be handled late.
            journal.record_arrival(0, AttemptId(1));
            end(&journal);
            check_pending(&journal, &[(0, 10)]);
            journal.record_arrival(0, AttemptId(2));
            check_pending(&journal, &[]);
        }
    }

    #[tokio::test]
    async fn a_closed_session_is_not_attached() {
        let journal = journal(true);
        journal.report(AttemptReport::Started).await;
        journal.detach();
        let route = journal.route_over(&SessionHandle::unconnected());
        route.session.closer.close();
        assert_eq!(journal.attach(route).await, Ok(()));
        assert!(journal.route.borrow().is_none());
    }

    /// Attaches a journal with one pending delivery, whose first upload fails with `code`. The session is closed
    /// meanwhile if `closes` is true. Checks whether `attach` succeeds, the number of uploads, and the number of
    /// deliveries that are still pending.
    async fn check_uploads(code: Code, closes: bool, expected: (bool, u32, usize)) {
        let journal = journal(true);
        assert_eq!(journal.keep(RESULT, vec![0; 10].into()), Some(0));
        // The session is open while this value exists.
        let (_connection, closer) = sp1d_protocol::Connection::new(tokio::io::empty());
        let route = journal.route_over(&SessionHandle { closer, ..SessionHandle::unconnected() });
        let uploads = AtomicU32::new(0);
        let upload = |route: AttemptRoute, _: String, _: Bytes| {
            let is_first = uploads.fetch_add(1, Ordering::Relaxed) == 0;
            if closes {
                route.session.closer.close();
            }
            async move { if is_first { Err(Status::new(code, "refused")) } else { Ok(()) } }
        };
        let succeeds = journal.attach_with(route, upload).await.is_ok();
        let pending = journal.contents().pending().len();
        assert_eq!((succeeds, uploads.load(Ordering::Relaxed), pending), expected, "{code:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_delivery_for_which_the_orchestrator_has_no_memory_is_tried_again() {
        check_uploads(Code::Aborted, false, (true, 2, 0)).await;
        check_uploads(Code::Aborted, true, (true, 1, 1)).await;
        check_uploads(Code::ResourceExhausted, false, (false, 1, 1)).await;
    }

    #[tokio::test]
    async fn an_attempt_starts_also_without_a_session() {
        let journal = journal(true);
        journal.detach();
        assert!(!journal.has_started());
        journal.report(AttemptReport::Started).await;
        assert!(journal.has_started());
    }

    #[tokio::test]
    async fn another_number_takes_effect_at_once() {
        let journal = journal(true);
        journal.report(AttemptReport::Started).await;
        let names = |attempt, outputs| {
            assert!(journal.renumber(attempt, outputs));
            let route = journal.route_over(&SessionHandle::unconnected());
            assert_eq!(route.attempt, attempt);
            assert_eq!(route.name(&AttemptOutput::Additional("a".into())), "a");
            [route.name(&RESULT), route.name(&EVENT_LIST)]
        };
        assert_eq!(names(AttemptId(2), outputs("other", Some("others"))), ["other", "others"]);
        assert_eq!(names(AttemptId(3), outputs("third", None)), ["third", ""], "no assignment requests an empty name");
    }

    #[tokio::test]
    async fn a_started_attempt_with_a_complete_journal_is_resumable() {
        let start = async |journal: &AttemptJournal| journal.report(AttemptReport::Started).await;
        let deliver = |journal: &AttemptJournal, length| journal.keep(RESULT, vec![0; length].into());
        check(true, async |_| {}, false).await;
        check(true, start, true).await;
        check(false, start, false).await;
        check(
            true,
            async |journal| {
                start(journal).await;
                assert_eq!((deliver(journal, MAX_JOURNAL_BYTES), deliver(journal, 0)), (Some(0), Some(1)));
                journal.report(AttemptReport::Done(7)).await;
            },
            true,
        )
        .await;
        check(
            true,
            async |journal| {
                start(journal).await;
                let kept = (deliver(journal, MAX_JOURNAL_BYTES), deliver(journal, 1), deliver(journal, 0));
                assert_eq!(kept, (Some(0), None, None));
            },
            false,
        )
        .await;
        check(
            true,
            async |journal| {
                start(journal).await;
                journal.mark_incomplete();
            },
            false,
        )
        .await;
        let failure = AttemptError { kind: FailureKind::Engine, text: "planted".to_owned() };
        check(
            true,
            async |journal| {
                start(journal).await;
                journal.report(AttemptReport::Failed(failure.clone())).await;
            },
            false,
        )
        .await;
    }
}
