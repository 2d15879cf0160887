//! A proof's timeline in the form of Chrome's trace viewer, which Perfetto opens too. See "Trace Event Format",
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use super::problem::Problem;
use crate::Service;
use axum::{
    Json,
    extract::{Path, State},
};
use client::{EventRecord, Moment, ProofEvent};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Events that are read from the database at a time.
const EVENTS: u32 = 10_000;

/// Gives a proof's timeline as it is so far, for Chrome's trace viewer or Perfetto: a track for the execution and one for each worker, a slice for each attempt.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}/trace",
    tag = "proofs",
    responses((status = 200, body = Object), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn trace(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    service.proof(&id).await?;
    let mut timeline = Timeline::default();
    let mut after = 0;
    loop {
        let events = service.events(&id, after, EVENTS).await?;
        let Some(last) = events.last() else { break };
        after = last.number;
        events.iter().for_each(|record| timeline.note(record));
    }
    Ok(Json(timeline.end()))
}

/// An attempt whose end has not been told.
struct Open {
    track: usize,
    kind: String,
    task: u64,
    assigned: Moment,
    proving: Option<Moment>,
}

#[derive(Default)]
struct Timeline {
    slices: Vec<Value>,
    tracks: Vec<String>,
    open: BTreeMap<u64, Open>,
    executing: Option<Moment>,
    last: Option<Moment>,
}

/// The format counts in microseconds.
fn micros(moment: Moment) -> i64 {
    moment.0.saturating_mul(1000)
}

impl Timeline {
    /// Track 0 is the execution's.
    fn track(&mut self, worker: &str) -> usize {
        let known = self.tracks.iter().position(|track| track == worker);
        known.unwrap_or_else(|| {
            self.tracks.push(worker.to_owned());
            self.tracks.len() - 1
        }) + 1
    }

    fn slice(&mut self, track: usize, name: &str, from: Moment, to: Moment, facts: Value) {
        let duration = micros(to).saturating_sub(micros(from)).max(0);
        self.slices.push(json!({
            "name": name, "ph": "X", "pid": 1, "tid": track, "ts": micros(from), "dur": duration, "args": facts
        }));
    }

    fn end_attempt(&mut self, attempt: u64, at: Moment, outcome: &str) {
        let Some(Open { track, kind, task, assigned, proving }) = self.open.remove(&attempt) else { return };
        let facts = json!({ "task": task, "attempt": attempt, "outcome": outcome });
        let began = proving.unwrap_or(at);
        if began.0 > assigned.0 {
            self.slice(track, "waiting", assigned, began, facts.clone());
        }
        if proving.is_some() {
            self.slice(track, &kind, began, at, facts);
        }
    }

    fn end_all(&mut self, at: Moment, outcome: &str) {
        let open: Vec<u64> = self.open.keys().copied().collect();
        open.into_iter().for_each(|attempt| self.end_attempt(attempt, at, outcome));
        if let Some(from) = self.executing.take() {
            self.slice(0, "execution", from, at, json!({ "outcome": outcome }));
        }
    }

    fn note(&mut self, record: &EventRecord) {
        let at = record.at;
        match &record.event {
            ProofEvent::Started { .. } => {
                let before = self.last.unwrap_or(at);
                self.end_all(before, "lost with the service");
                self.executing = Some(at);
            }
            ProofEvent::Executed { cycles } => {
                if let Some(from) = self.executing.take() {
                    self.slice(0, "execution", from, at, json!({ "cycles": cycles }));
                }
            }
            ProofEvent::Assigned(attempt) => {
                let track = self.track(&attempt.worker);
                let open = Open { track, kind: attempt.kind.clone(), task: attempt.task, assigned: at, proving: None };
                self.open.insert(attempt.attempt, open);
            }
            ProofEvent::Proving(attempt) => {
                if let Some(open) = self.open.get_mut(&attempt.attempt) {
                    open.proving = Some(at);
                }
            }
            ProofEvent::Done(attempt) => self.end_attempt(attempt.attempt, at, "done"),
            ProofEvent::AttemptFailed { attempt, reason } => self.end_attempt(attempt.attempt, at, reason),
            ProofEvent::Dropped(attempt) => self.end_attempt(attempt.attempt, at, "not wanted any more"),
            ProofEvent::Finished { .. } => self.end_all(at, "the proof ended"),
            ProofEvent::Queued
            | ProofEvent::Submitted { .. }
            | ProofEvent::Remembered { .. }
            | ProofEvent::WorkerReady { .. }
            | ProofEvent::WorkerLost { .. }
            | ProofEvent::Restarted { .. }
            | ProofEvent::Verifying => {}
        }
        self.last = Some(at);
    }

    fn end(mut self) -> Value {
        // What goes on is shown as far as it is known.
        if let Some(last) = self.last {
            self.end_all(last, "under way");
        }
        let names = std::iter::once("execution").chain(self.tracks.iter().map(String::as_str)).enumerate();
        let names = names.map(|(track, name)| {
            json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": track, "args": { "name": name } })
        });
        let events: Vec<Value> = names.chain(self.slices.iter().cloned()).collect();
        json!({ "displayTimeUnit": "ms", "traceEvents": events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Attempt;

    #[test]
    fn attempts_become_slices_on_the_track_of_their_worker() {
        let attempt =
            |attempt, worker: &str| Attempt { task: 7, attempt, kind: "prove_shard".into(), worker: worker.into() };
        let events = [
            (0, ProofEvent::Queued),
            (10, ProofEvent::Started { start: 1 }),
            (20, ProofEvent::Assigned(attempt(1, "a"))),
            (25, ProofEvent::Proving(attempt(1, "a"))),
            (30, ProofEvent::Executed { cycles: 5 }),
            (31, ProofEvent::Assigned(attempt(2, "b"))),
            (40, ProofEvent::Done(attempt(1, "a"))),
            (50, ProofEvent::Started { start: 2 }),
            (60, ProofEvent::Verifying),
        ];
        let mut timeline = Timeline::default();
        for (number, (at, event)) in events.into_iter().enumerate() {
            timeline.note(&EventRecord { number: number as u64 + 1, at: Moment(at), event });
        }
        let trace = timeline.end();
        let shown: Vec<String> = trace["traceEvents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| match event["ph"].as_str().unwrap() {
                "M" => format!("{} is {}", event["tid"], event["args"]["name"]),
                _ => format!(
                    "{} {} {}+{} {}",
                    event["tid"], event["name"], event["ts"], event["dur"], event["args"]["outcome"]
                ),
            })
            .collect();
        let expected = [
            "0 is \"execution\"",
            "1 is \"a\"",
            "2 is \"b\"",
            "0 \"execution\" 10000+20000 null",
            "1 \"waiting\" 20000+5000 \"done\"",
            "1 \"prove_shard\" 25000+15000 \"done\"",
            // It never began to prove.
            "2 \"waiting\" 31000+9000 \"lost with the service\"",
            "0 \"execution\" 50000+10000 \"under way\"",
        ];
        assert_eq!(shown, expected);
    }
}
