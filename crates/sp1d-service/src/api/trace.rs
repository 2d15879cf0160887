//! The timeline of a proof in the format of Chrome's trace viewer, which Perfetto also reads. See "Trace Event Format",
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use super::problem::Problem;
use crate::{
    queue::Service,
    telemetry::timeline::{SliceDetails, Timeline, TimelineSlice, TimelineTrack},
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use sp1d_model::Moment;

/// Maximum number of events in one read from the database.
const MAX_READ: u32 = 10_000;

/// Returns the timeline of a proof so far, for Chrome's trace viewer or Perfetto. The execution and each worker have a
/// track. Each attempt has one slice while it waits on its worker, and one while it is proven.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}/trace",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses((status = 200, body = Object), (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn trace(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    service.proof(&id).await?;
    let (mut timeline, mut slices) = (Timeline::default(), Vec::new());
    let mut after = 0;
    loop {
        let events = service.events(&id, after, MAX_READ).await?;
        let Some(last) = events.last() else { break };
        after = last.number;
        slices.extend(events.iter().flat_map(|record| timeline.note(record.at, &record.event)));
    }
    slices.extend(timeline.under_way());
    Ok(Json(shown(&slices)))
}

/// Converts to microseconds, the time unit of the format.
fn micros(moment: Moment) -> i64 {
    moment.0.saturating_mul(1000)
}

fn shown(slices: &[TimelineSlice]) -> Value {
    let mut workers: Vec<&str> = Vec::new();
    let mut events = Vec::new();
    for TimelineSlice { track, name, from, to, details } in slices {
        // Track 0 is the execution. Workers get the numbers from 1, in the order of their first slices.
        let track = match track {
            TimelineTrack::Execution => 0,
            TimelineTrack::Worker(name) => {
                let known = workers.iter().position(|worker| worker == name);
                known.unwrap_or_else(|| {
                    workers.push(name);
                    workers.len() - 1
                }) + 1
            }
        };
        let details = match details {
            SliceDetails::Cycles(cycles) => json!({ "cycles": cycles }),
            SliceDetails::Outcome { outcome, .. } => json!({ "outcome": outcome }),
            SliceDetails::Attempt { task, attempt, outcome, .. } => {
                json!({ "task": task, "attempt": attempt, "outcome": outcome })
            }
        };
        let duration = micros(*to).saturating_sub(micros(*from)).max(0);
        events.push(json!({
            "name": name, "ph": "X", "pid": 1, "tid": track, "ts": micros(*from), "dur": duration, "args": details
        }));
    }
    let names = std::iter::once("execution").chain(workers).enumerate();
    let names = names.map(
        |(track, name)| json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": track, "args": { "name": name } }),
    );
    let events: Vec<Value> = names.chain(events).collect();
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::timeline::tests::events;

    #[test]
    fn tracks_are_numbered_and_named() {
        let mut timeline = Timeline::default();
        let slices: Vec<TimelineSlice> =
            events().iter().flat_map(|record| timeline.note(record.at, &record.event)).collect();
        let trace = shown(&slices);
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
            "1 is \"b\"",
            "2 is \"a\"",
            "0 \"execution\" 10000+20000 null",
            "1 \"prove_shard\" 32000+4000 \"no memory\"",
            "2 \"waiting\" 20000+5000 \"done\"",
            "2 \"prove_shard\" 25000+15000 \"done\"",
            "1 \"waiting\" 31000+9000 \"lost when the service stopped\"",
        ];
        assert_eq!(shown, expected);
    }
}
