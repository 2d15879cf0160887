//! OpenTelemetry traces of proofs: one trace for each start of a proof, with a span for the execution and spans for
//! each attempt. Attribute names follow <https://opentelemetry.io/docs/specs/semconv/general/naming/>.

use super::timeline::{SliceDetails, Timeline, TimelineSlice, TimelineTrack};
use opentelemetry::{
    Context, KeyValue,
    global::BoxedTracer,
    trace::{Span, SpanKind, Status, TraceContextExt, Tracer},
};
use sp1d_model::{Moment, ProofEvent, ProofState, ProofSummary, hint};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The trace of a running proof. It ends with the proof's last event, or with [`Spans::stop`].
pub(crate) struct Spans {
    tracer: Arc<BoxedTracer>,
    root: Context,
    timeline: Timeline,
}

fn time(moment: Moment) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(moment.0).unwrap_or(0))
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Spans {
    /// Starts the trace of `proof` at `now`. This time and those of the events are from the same clock.
    pub(crate) fn new(tracer: Arc<BoxedTracer>, proof: &ProofSummary, now: Moment) -> Self {
        let attributes = [
            KeyValue::new("sp1d.proof.id", proof.id.clone()),
            KeyValue::new("sp1d.proof.mode", proof.mode.name()),
            KeyValue::new("sp1d.proof.start", i64::from(proof.starts)),
            KeyValue::new("sp1d.program.id", proof.program.clone()),
        ];
        let span = tracer.span_builder("proof").with_kind(SpanKind::Internal).with_attributes(attributes);
        // Rounded to milliseconds like the times of events. Otherwise the first event could be earlier than the span.
        let span = span.with_start_time(time(now));
        let root = Context::new().with_span(span.start_with_context(tracer.as_ref(), &Context::new()));
        Self { tracer, root, timeline: Timeline::default() }
    }

    /// Adds an event of the proof that happened at `at`.
    pub(crate) fn note(&mut self, at: Moment, event: &ProofEvent) {
        for slice in self.timeline.note(at, event) {
            self.add(&slice);
        }
        match event {
            ProofEvent::Restarted { reason } | ProofEvent::WorkerLost { reason, .. } => {
                let name =
                    if matches!(event, ProofEvent::Restarted { .. }) { "restarted" } else { "worker disconnected" };
                let attributes = vec![KeyValue::new("sp1d.reason", reason.clone())];
                self.root.span().add_event_with_timestamp(name, time(at), attributes);
            }
            ProofEvent::Finished { state, failure } => {
                let span = self.root.span();
                span.set_attribute(KeyValue::new("sp1d.proof.state", state.name()));
                let reason =
                    failure.as_ref().map(|failure| hint::without(&failure.text).to_owned()).unwrap_or_default();
                span.set_status(if *state == ProofState::Failed { Status::error(reason) } else { Status::Ok });
                span.end_with_timestamp(time(at));
            }
            _ => {}
        }
    }

    /// Ends the trace at `now`, when the service stops. The next start of the proof has its own trace.
    pub(crate) fn stop(mut self, now: Moment) {
        for slice in self.timeline.end(now, "the service stopped") {
            self.add(&slice);
        }
        let span = self.root.span();
        span.set_attribute(KeyValue::new("sp1d.proof.state", "stopped"));
        span.end_with_timestamp(time(now));
    }

    fn add(&self, slice: &TimelineSlice) {
        let mut attributes = Vec::new();
        if let TimelineTrack::Worker(name) = &slice.track {
            attributes.push(KeyValue::new("sp1d.worker", name.clone()));
        }
        let mut status = Status::Unset;
        match &slice.details {
            SliceDetails::Cycles(cycles) => attributes.push(KeyValue::new("sp1d.cycles", number(*cycles))),
            SliceDetails::Outcome { outcome, failed } => {
                attributes.push(KeyValue::new("sp1d.outcome", *outcome));
                if *failed {
                    status = Status::error("the program failed");
                }
            }
            SliceDetails::Attempt { task, attempt, outcome, failed } => {
                attributes.push(KeyValue::new("sp1d.task", number(task.0)));
                attributes.push(KeyValue::new("sp1d.attempt", number(attempt.0)));
                attributes.push(KeyValue::new("sp1d.outcome", outcome.clone()));
                if *failed {
                    status = Status::error(outcome.clone());
                }
            }
        }
        let builder = self.tracer.span_builder(slice.name.clone()).with_kind(SpanKind::Internal);
        let builder = builder.with_start_time(time(slice.from)).with_attributes(attributes);
        let mut span = builder.start_with_context(self.tracer.as_ref(), &self.root);
        span.set_status(status);
        span.end_with_timestamp(time(slice.to));
    }
}
