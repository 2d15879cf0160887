//! The timeline of a proof in the format of Chrome's trace viewer, which Perfetto also reads. See "Trace Event Format",
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use super::{auth::VisibleProof, problem::Problem};
use crate::{
    queue::{RequestError, Service},
    telemetry::timeline::{SliceDetails, Timeline, TimelineSlice, TimelineTrack},
};
use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures::stream;
use serde_json::{Value, json};
use sp1d_model::Moment;
use std::collections::BTreeMap;

sp1d_model::limits! {
    /// Maximum number of events of a trace that are in memory. A trace is made while it is sent.
    const MAX_READ: u32 = 1000; Count by Client;
}

/// Returns the timeline of a proof so far, for Chrome's trace viewer or Perfetto. The execution and each worker have a
/// track. Each attempt has one slice while it waits on its worker, and one while it is proven.
#[utoipa::path(
    get,
    operation_id = "get_trace",
    path = "/v1/proofs/{id}/trace",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses(
        (status = 200, description = "The timeline.", body = Object),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn trace(State(service): State<Service>, VisibleProof(id): VisibleProof) -> Result<Response, Problem> {
    let reader = TraceReader { service, id, after: 0, timeline: Timeline::default(), form: TraceForm::default() };
    let parts = stream::try_unfold(Some(reader), |reader| async move {
        let Some(mut reader) = reader else { return Ok(None) };
        let events = reader.service.events(&reader.id, reader.after, MAX_READ).await?;
        let Some(last) = events.last() else {
            let slices = reader.timeline.under_way();
            return Ok(Some((reader.form.slices(&slices) + TRACE_END, None)));
        };
        reader.after = last.number;
        let timeline = &mut reader.timeline;
        let slices: Vec<TimelineSlice> =
            events.iter().flat_map(|record| timeline.note(record.at, &record.event)).collect();
        let part = reader.form.slices(&slices);
        Ok::<_, RequestError>(Some((part, Some(reader))))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(parts)).into_response())
}

/// Reads the events of a proof and converts them to a trace.
struct TraceReader {
    service: Service,
    id: String,
    after: u64,
    timeline: Timeline,
    form: TraceForm,
}

/// Converts to microseconds, the time unit of the format.
fn micros(moment: Moment) -> i64 {
    moment.0.saturating_mul(1000)
}

/// The end of the document.
const TRACE_END: &str = "]}";

/// Writes a trace as one JSON document, in parts.
#[derive(Debug, Default)]
struct TraceForm {
    /// The numbers of the workers' tracks, from 1 in the order of their first slices. Track 0 is the execution.
    tracks: BTreeMap<String, usize>,
    /// Whether the start of the document is written.
    started: bool,
}

impl TraceForm {
    /// Returns the next part of the document, with `slices`.
    fn slices(&mut self, slices: &[TimelineSlice]) -> String {
        let mut part = String::new();
        if !self.started {
            self.started = true;
            part.push_str("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
            part.push_str(&track_name(0, "execution").to_string());
        }
        for TimelineSlice { track, name, from, to, details } in slices {
            let track = match track {
                TimelineTrack::Execution => 0,
                TimelineTrack::Worker(worker) => match self.tracks.get(worker) {
                    Some(track) => *track,
                    None => {
                        let track = self.tracks.len() + 1;
                        self.tracks.insert(worker.clone(), track);
                        part.push(',');
                        part.push_str(&track_name(track, worker).to_string());
                        track
                    }
                },
            };
            let details = match details {
                SliceDetails::Cycles(cycles) => json!({ "cycles": cycles }),
                SliceDetails::Outcome { outcome, .. } => json!({ "outcome": outcome }),
                SliceDetails::Attempt { task, attempt, outcome, .. } => {
                    json!({ "task": task, "attempt": attempt, "outcome": outcome })
                }
            };
            let duration = micros(*to).saturating_sub(micros(*from)).max(0);
            let slice = json!({
                "name": name, "ph": "X", "pid": 1, "tid": track, "ts": micros(*from), "dur": duration, "args": details
            });
            part.push(',');
            part.push_str(&slice.to_string());
        }
        part
    }
}

/// Returns the event that names a track.
fn track_name(track: usize, name: &str) -> Value {
    json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": track, "args": { "name": name } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::timeline::tests::events;

    #[test]
    fn tracks_are_numbered_and_named() {
        let (mut timeline, mut form, mut document) = (Timeline::default(), TraceForm::default(), String::new());
        for record in events() {
            document += &form.slices(&timeline.note(record.at, &record.event));
        }
        document += TRACE_END;
        let trace: Value = serde_json::from_str(&document).unwrap();
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
            "0 \"execution\" 10000+20000 null",
            "1 is \"b\"",
            "1 \"prove_shard\" 32000+4000 \"no memory\"",
            "2 is \"a\"",
            "2 \"waiting\" 20000+5000 \"done\"",
            "2 \"prove_shard\" 25000+15000 \"done\"",
            "1 \"waiting\" 31000+9000 \"lost when the service stopped\"",
        ];
        assert_eq!(shown, expected);
    }
}
