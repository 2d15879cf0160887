//! The control stream of a session: what the worker reports, and whether it is alive.

use super::{
    introduction::{WorkerIntroduction, attempt_memory, gpu_states},
    worker_session::{ReportedProvers, WorkerSession},
};
use crate::{
    settings::OrchestratorSettings,
    state::dispatcher_input::{DispatcherInput, ForwardedEvent},
    workers::{connected_worker::ConnectedWorker, worker_address::WorkerAddress},
};
use sp1d_model::{ProofEvent, clean_line, hint::one_line};
use sp1d_protocol::{
    MessageLimits,
    wire::{self, FromWorker, ToWorker, from_worker, to_worker},
};
use sp1d_scheduler::{AttemptId, ReadyWorker, ResultKey, ResumableAttempt, ShardSize};
use std::sync::{Arc, atomic::Ordering};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tonic::{Status, Streaming};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of characters of a worker's text that says why its session ended.
    const MAX_REASON_CHARACTERS: usize = 400; Count by Worker;
}

/// How often in each heartbeat interval a session checks whether bytes have arrived. A lease ends late by at most the
/// time between two checks.
const CHECKS_PER_HEARTBEAT: u32 = 4;

impl WorkerSession {
    /// Handles the worker's messages until its stream ends. Then ends the session.
    pub(super) async fn receive(self: Arc<Self>, mut inbound: Streaming<FromWorker>, introduction: WorkerIntroduction) {
        let reason = loop {
            match inbound.message().await {
                Ok(Some(message)) => {
                    if let Some(message) = message.message {
                        self.on_message(message, &introduction).await;
                    }
                }
                Ok(None) => break "the worker ended the session".to_owned(),
                Err(status) => {
                    // The peer chooses the text of some statuses.
                    let text = clean_line(status.message(), MAX_REASON_CHARACTERS);
                    break format!("the connection was lost ({text})");
                }
            }
        };
        self.close_reason.set(reason);
        self.closer.close();
    }

    async fn on_message(&self, message: from_worker::Message, introduction: &WorkerIntroduction) {
        let session = self.session_id;
        match message {
            from_worker::Message::Heartbeat(_) => {}
            from_worker::Message::Readiness(readiness) => self.on_readiness(readiness, introduction).await,
            from_worker::Message::Started(started) => {
                self.send_event(ForwardedEvent::AttemptStarted { session, attempt: AttemptId(started.attempt) }).await;
            }
            from_worker::Message::DeferredEventsUploaded(uploaded) => {
                let attempt = AttemptId(uploaded.attempt);
                let uploaded = DispatcherInput::DeferredEventsUploaded { session, attempt };
                // If the dispatcher has ended, every session ends.
                let _ = self.shared.inbox.send(uploaded).await;
            }
            from_worker::Message::Done(done) => {
                tracing::debug!(worker = %introduction.name, attempt = done.attempt, proving_ms = done.proving_ms, "attempt delivered its result");
                if self.send_event(ForwardedEvent::ResultDelivered { session, attempt: AttemptId(done.attempt) }).await
                {
                    self.confirm(done.attempt);
                }
            }
            from_worker::Message::Failed(failed) => self.on_failed(failed, introduction).await,
            from_worker::Message::GpuReadings(readings) => {
                if let Some(worker) = self.shared.worker(session) {
                    *worker.gpus() = gpu_states(readings);
                }
            }
            from_worker::Message::OthersWaiting(others) => _ = self.waiting_orchestrators.send_replace(others.count),
            from_worker::Message::Leaving(_) => {
                self.note_departure();
                self.leaving.cancel();
            }
            from_worker::Message::Goodbye(goodbye) => {
                let reason = clean_line(&goodbye.reason, MAX_REASON_CHARACTERS);
                self.note_departure();
                self.close_reason.set(reason);
                self.closer.close();
            }
        }
    }

    /// Notes that the worker ends its session on purpose, if it had joined. Not for a worker of the list: this
    /// orchestrator connects to it again.
    fn note_departure(&self) {
        if let (WorkerAddress::JoinedFrom(_), Some(worker)) = (&self.address, self.shared.worker(self.session_id)) {
            worker.left_on_purpose.store(true, Ordering::Relaxed);
        }
    }

    /// Handles a report on whether the prover is loaded. The scheduler knows the worker once its prover was loaded.
    async fn on_readiness(&self, readiness: wire::Readiness, introduction: &WorkerIntroduction) {
        let session = self.session_id;
        let Some(worker) = self.shared.worker(session) else { return };
        if let Some(memory) = attempt_memory(readiness.memory) {
            *worker.attempt_memory() = Some(memory);
        }
        let before = self.note_provers(readiness.ready);
        if !readiness.ready {
            tracing::debug!(worker = %introduction.name, seconds_left = readiness.seconds_left, "worker is starting");
            if before == ReportedProvers::Loaded {
                if let Some(suppressed) = self.shared.may_log_about(worker.origin) {
                    tracing::warn!(worker = %introduction.name, suppressed, "prover of a worker ended and restarts");
                }
                self.send_event(ForwardedEvent::LastProverLost { session }).await;
            }
        } else if before != ReportedProvers::Loaded {
            if let Some(suppressed) = self.shared.may_log_about(worker.origin) {
                tracing::info!(worker = %introduction.name, address = %self.address, suppressed, "worker is ready");
            }
            let event = ProofEvent::WorkerReady { worker: introduction.name.clone() };
            self.shared.publish_to_tries(worker.origin, &event);
            if before == ReportedProvers::AllLost {
                self.send_event(ForwardedEvent::FirstProverReady { session }).await;
                return;
            }
            let alone_bytes = worker.attempt_memory().map(|memory| memory.alone_bytes);
            let comparable_bytes = match worker.largest_cut {
                Some(cut) => comparable_gpu_bytes(cut, self.shared.settings.shard_cell_bytes),
                None => comparable_processor_bytes(introduction.machine_bytes, alone_bytes),
            };
            let shard_room = worker.shard_room();
            self.exclude_from_larger_shards(&worker).await;
            let ready = ReadyWorker {
                worker: worker.worker_id,
                origin: worker.origin,
                trusted: worker.trusted,
                comparable_bytes,
                shard_room,
                slots: introduction.slots,
                supported_kinds: introduction.supported_kinds,
                holds: readiness.holds.into_iter().take(MessageLimits::HELD_ATTEMPTS).map(AttemptId).collect(),
            };
            let resumable_attempts = resumable_attempts(&self.shared.settings, readiness.resumable);
            self.send_event(ForwardedEvent::WorkerReady { session, ready, resumable_attempts }).await;
        }
    }

    /// Excludes a worker on GPUs from the shards of running tries with a larger cut than its largest one, because it
    /// would refuse them. Notifies every worker of the running tries that exclude it.
    async fn exclude_from_larger_shards(&self, worker: &ConnectedWorker) {
        let tries: Vec<_> = self.shared.tries().values().cloned().collect();
        for running in tries {
            let cells = running.cut();
            if worker.largest_cut.is_some_and(|largest| cells > largest) {
                // Workers on processors may try any shard.
                let (try_id, size) = (running.id, ShardSize { cells, memory_bytes: 0 });
                running.exclude_workers_below(size);
                self.send_event(ForwardedEvent::SmallWorkersExcluded { try_id, size }).await;
            }
            running.notify_if_excluded(worker);
        }
    }

    /// Handles the report of a failed attempt. The text of the worker is cut and cleaned, because it goes into logs.
    async fn on_failed(&self, failed: wire::Failed, introduction: &WorkerIntroduction) {
        let kind = sp1d_protocol::failure_kind_from_wire(failed.kind());
        let text = clean_line(&one_line(&failed.text), MessageLimits::FAILURE_BYTES);
        let origin = self.shared.worker(self.session_id).map(|worker| worker.origin);
        if let Some(suppressed) = origin.and_then(|origin| self.shared.may_log_about(origin)) {
            tracing::warn!(worker = %introduction.name, attempt = failed.attempt, %kind, %text, suppressed, "attempt failed");
        }
        let attempt = AttemptId(failed.attempt);
        self.send_event(ForwardedEvent::AttemptFailed { session: self.session_id, attempt, kind, text }).await;
        self.confirm(failed.attempt);
    }

    /// Tells the worker that its report on the end of `attempt` has arrived, so that it can forget the report. If this
    /// message is lost, the worker repeats the report in its next session.
    fn confirm(&self, attempt: u64) {
        if let Some(worker) = self.shared.worker(self.session_id) {
            let received = to_worker::Message::Received(wire::Received { attempt });
            let _ = worker.outbox.try_send(Ok(ToWorker { message: Some(received) }));
        }
    }

    /// Sends heartbeats, and renews the worker's lease while bytes arrive. Ends the session after too much silence.
    pub(super) async fn keep_alive(self: Arc<Self>, outbox: mpsc::Sender<Result<ToWorker, Status>>) {
        let mut checks = interval(self.shared.settings.heartbeat / CHECKS_PER_HEARTBEAT);
        checks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut last_count, mut silent) = (self.closer.bytes_read(), 0);
        let silence = self.shared.settings.silence();
        for check in 0_u64.. {
            tokio::select! {
                () = self.closer.ended() => return,
                _ = checks.tick() => {}
            }
            let count = self.closer.bytes_read();
            if count != last_count {
                (last_count, silent) = (count, 0);
                self.send_event(ForwardedEvent::LeaseRenewed { session: self.session_id }).await;
            } else {
                // Silence is measured by the number of checks, because no checks happen while this process is frozen.
                silent += 1;
                if checks.period() * silent > silence {
                    return self.shared.end_session(self.session_id);
                }
            }
            if check % u64::from(CHECKS_PER_HEARTBEAT) != 0 {
                continue;
            }
            let beat = ToWorker { message: Some(to_worker::Message::Heartbeat(wire::Heartbeat {})) };
            // If the outbox is full, its messages serve as heartbeats.
            let _ = outbox.try_send(Ok(beat));
        }
    }
}

/// Returns the memory with which the scheduler compares a GPU worker with other workers: what a full shard of its
/// largest cut takes on a processor. Unknown memory counts as sufficient.
fn comparable_gpu_bytes(largest_cut: u64, shard_cell_bytes: Option<u64>) -> u64 {
    shard_cell_bytes.map_or(u64::MAX, |bytes| largest_cut.saturating_mul(bytes))
}

/// Returns the memory with which the scheduler compares a worker on processors with other workers: what an attempt can
/// use that runs alone on the machine. `machine_bytes` is 0 if unknown. Unknown memory counts as sufficient.
fn comparable_processor_bytes(machine_bytes: u64, alone_bytes: Option<u64>) -> u64 {
    let machine_bytes = if machine_bytes == 0 { u64::MAX } else { machine_bytes };
    alone_bytes.map_or(machine_bytes, |bytes| bytes.min(machine_bytes))
}

/// Returns the attempts that a worker can resume: those in `resumable` that this orchestrator may have assigned before
/// it restarted.
fn resumable_attempts(settings: &OrchestratorSettings, resumable: Vec<wire::Resumable>) -> Vec<ResumableAttempt> {
    let last = if settings.lineage.is_some() { settings.last_attempt_before_restart } else { 0 };
    let is_possible = |resumable: &wire::Resumable| (1..=last).contains(&resumable.attempt);
    let resumable = resumable.into_iter().take(MessageLimits::HELD_ATTEMPTS).filter(is_possible);
    resumable
        .filter_map(|resumable| {
            let key = ResultKey(<[u8; 32]>::try_from(&*resumable.key).ok()?);
            Some(ResumableAttempt { key, attempt: AttemptId(resumable.attempt) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_resumable(lineage: Option<[u8; 16]>, attempt: u64, key: &[u8], is_kept: bool) {
        let settings = OrchestratorSettings {
            lineage,
            last_attempt_before_restart: 10,
            ..OrchestratorSettings::new(wire::Build::default().into())
        };
        let resumable = wire::Resumable { attempt, key: key.to_vec().into() };
        assert_eq!(
            resumable_attempts(&settings, vec![resumable]).len(),
            usize::from(is_kept),
            "{lineage:?} {attempt} {key:?}"
        );
    }

    #[test]
    fn unknown_memory_of_a_worker_counts_as_sufficient() {
        assert_eq!((comparable_gpu_bytes(10, Some(68)), comparable_gpu_bytes(10, None)), (680, u64::MAX));
        for (machine_bytes, alone_bytes, expected) in
            [(0, None, u64::MAX), (0, Some(5), 5), (8, None, 8), (8, Some(5), 5), (8, Some(9), 8)]
        {
            assert_eq!(comparable_processor_bytes(machine_bytes, alone_bytes), expected);
        }
    }

    #[test]
    fn only_attempts_of_an_earlier_run_can_be_resumed() {
        let lineage = Some([1; 16]);
        for (attempt, is_kept) in [(0, false), (1, true), (10, true), (11, false), (u64::MAX, false)] {
            check_resumable(lineage, attempt, &[7; 32], is_kept);
        }
        check_resumable(lineage, 5, &[7; 31], false);
        check_resumable(None, 5, &[7; 32], false);
    }
}
