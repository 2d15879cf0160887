//! Converts tasks to and from SP1's lists. SP1 gives the inputs and outputs of a task a meaning by their position.
//! Everywhere else in this project they have names.
//!
//! This file uses nothing of SP1, so that its tests need no prover.

use sp1d_model::{TaskId, TaskKind};
use sp1d_protocol::{DeferredTask, ReducePart, ReduceTask, ShardMarker, ShardTask, TaskPayload, WrapTask};

/// SP1's text in place of a marker, for a shard without one.
const NO_MARKER: &str = "dummy marker task";

/// Why SP1's lists are not those of a task of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TaskListError {
    #[error("SP1 submitted a {kind} task with unexpected counts: {inputs} inputs and {outputs} outputs")]
    Counts { kind: TaskKind, inputs: usize, outputs: usize },
    #[error("SP1 submitted a shard with {outputs} outputs and the marker {marker:?}, which do not belong together")]
    Marker { marker: String, outputs: usize },
    #[error("SP1 submitted a reduction with {0:?} instead of a boolean")]
    Flag(String),
}

/// Returns the task of `kind` that SP1 submitted with these lists of names of artifacts, and of texts. `parse_marker`
/// returns the task with a name.
///
/// # Errors
/// Fails if the lists are not those of a task of `kind`.
pub(crate) fn task_payload(
    kind: TaskKind,
    inputs: &[String],
    outputs: &[String],
    parse_marker: impl Fn(&str) -> Option<TaskId>,
) -> Result<TaskPayload<String>, TaskListError> {
    let parsed = match kind {
        TaskKind::ProveShard => shard(inputs, outputs, parse_marker)?.map(TaskPayload::ProveShard),
        TaskKind::NormalizeShard => shard(inputs, outputs, parse_marker)?.map(TaskPayload::NormalizeShard),
        TaskKind::RecursionReduce => reduce(inputs, outputs)?.map(TaskPayload::RecursionReduce),
        TaskKind::RecursionDeferred => deferred(inputs, outputs).map(TaskPayload::RecursionDeferred),
        TaskKind::ShrinkWrap => wrap(inputs, outputs).map(TaskPayload::ShrinkWrap),
        TaskKind::PlonkWrap => wrap(inputs, outputs).map(TaskPayload::PlonkWrap),
        TaskKind::Groth16Wrap => wrap(inputs, outputs).map(TaskPayload::Groth16Wrap),
    };
    parsed.ok_or(TaskListError::Counts { kind, inputs: inputs.len(), outputs: outputs.len() })
}

/// Reads the lists of a shard. Returns `None` if the counts are wrong.
fn shard(
    inputs: &[String],
    outputs: &[String],
    parse_marker: impl Fn(&str) -> Option<TaskId>,
) -> Result<Option<ShardTask<String>>, TaskListError> {
    let [program, common_input, record, marker] = inputs else { return Ok(None) };
    let (result, event_list) = match outputs {
        [result] => (result, None),
        [result, event_list] => (result, Some(event_list)),
        _ => return Ok(None),
    };
    let marker = match (parse_marker(marker), event_list) {
        (Some(task), Some(name)) => Some(ShardMarker { task, event_list: name.clone() }),
        (None, None) if marker == NO_MARKER => None,
        _ => return Err(TaskListError::Marker { marker: marker.clone(), outputs: outputs.len() }),
    };
    Ok(Some(ShardTask {
        program: program.clone(),
        common_input: common_input.clone(),
        record: record.clone(),
        result: result.clone(),
        marker,
    }))
}

/// Reads the lists of a reduction. Returns `None` if the counts are wrong.
fn reduce(inputs: &[String], outputs: &[String]) -> Result<Option<ReduceTask<String>>, TaskListError> {
    let ([is_last, range, rest @ ..], [result]) = (inputs, outputs) else { return Ok(None) };
    let (parts, []) = rest.as_chunks::<2>() else { return Ok(None) };
    if parts.is_empty() {
        return Ok(None);
    }
    let part = |[range, proof]: &[String; 2]| ReducePart { range: range.clone(), proof: proof.clone() };
    Ok(Some(ReduceTask {
        // Rust writes and reads only the words `true` and `false`, so the text is not lost.
        is_last: is_last.parse().map_err(|_| TaskListError::Flag(is_last.clone()))?,
        range: range.clone(),
        parts: parts.iter().map(part).collect(),
        result: result.clone(),
    }))
}

/// Reads the lists of a task for an input proof. Returns `None` if the counts are wrong.
fn deferred(inputs: &[String], outputs: &[String]) -> Option<DeferredTask<String>> {
    let ([common_input, deferred_data], [result]) = (inputs, outputs) else { return None };
    let (common_input, deferred_data) = (common_input.clone(), deferred_data.clone());
    Some(DeferredTask { common_input, deferred_data, result: result.clone() })
}

/// Reads the lists of a task that wraps a proof. Returns `None` if the counts are wrong.
fn wrap(inputs: &[String], outputs: &[String]) -> Option<WrapTask<String>> {
    let ([proof], [result]) = (inputs, outputs) else { return None };
    Some(WrapTask { proof: proof.clone(), result: result.clone() })
}

/// Returns SP1's list of the inputs of a task. `name` returns the name that SP1 uses for an artifact or a marker.
pub(crate) fn input_list(payload: &TaskPayload<String>, name: impl Fn(&str) -> String) -> Vec<String> {
    match payload {
        TaskPayload::ProveShard(task) | TaskPayload::NormalizeShard(task) => {
            let marker = match &task.marker {
                Some(marker) => name(&marker.task.to_string()),
                None => NO_MARKER.to_owned(),
            };
            vec![name(&task.program), name(&task.common_input), name(&task.record), marker]
        }
        TaskPayload::RecursionReduce(task) => {
            let flags = [task.is_last.to_string(), task.range.clone()];
            let parts = task.parts.iter().flat_map(|part| [part.range.clone(), name(&part.proof)]);
            flags.into_iter().chain(parts).collect()
        }
        TaskPayload::RecursionDeferred(task) => vec![name(&task.common_input), name(&task.deferred_data)],
        TaskPayload::ShrinkWrap(task) | TaskPayload::PlonkWrap(task) | TaskPayload::Groth16Wrap(task) => {
            vec![name(&task.proof)]
        }
    }
}

/// Returns SP1's list of the outputs of a task. `name` returns the name that SP1 uses for an artifact.
pub(crate) fn output_list(payload: &TaskPayload<String>, name: impl Fn(&str) -> String) -> Vec<String> {
    let event_list = payload.marker().map(|marker| marker.event_list.as_str());
    std::iter::once(payload.result()).chain(event_list).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(kind: TaskKind, inputs: &[&str], outputs: &[&str]) -> Result<TaskPayload<String>, TaskListError> {
        let [inputs, outputs] = [inputs, outputs].map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        task_payload(kind, &inputs, &outputs, |text| text.strip_prefix('t')?.parse().ok().map(TaskId))
    }

    /// Checks that SP1 gets the same lists back, with the artifacts and the marker named by their attempt.
    #[track_caller]
    fn check(kind: TaskKind, inputs: &[&str], outputs: &[&str], scoped_inputs: &[&str], scoped_outputs: &[&str]) {
        let payload = payload(kind, inputs, outputs).unwrap();
        assert_eq!(payload.kind(), kind);
        assert_eq!(input_list(&payload, str::to_owned), inputs);
        assert_eq!(output_list(&payload, str::to_owned), outputs);
        let scoped = |name: &str| format!("a1/{name}");
        assert_eq!(input_list(&payload, scoped), scoped_inputs);
        assert_eq!(output_list(&payload, scoped), scoped_outputs);
    }

    #[test]
    fn sp1_gets_the_lists_back_that_it_submitted() {
        for kind in [TaskKind::ProveShard, TaskKind::NormalizeShard] {
            check(
                kind,
                &["elf", "common", "record", "t7"],
                &["proof", "events"],
                &["a1/elf", "a1/common", "a1/record", "a1/t7"],
                &["a1/proof", "a1/events"],
            );
            check(
                kind,
                &["elf", "common", "record", NO_MARKER],
                &["proof"],
                &["a1/elf", "a1/common", "a1/record", NO_MARKER],
                &["a1/proof"],
            );
        }
        check(
            TaskKind::RecursionReduce,
            &["false", "{whole}", "{first}", "a", "{second}", "b"],
            &["proof"],
            &["false", "{whole}", "{first}", "a1/a", "{second}", "a1/b"],
            &["a1/proof"],
        );
        check(
            TaskKind::RecursionReduce,
            &["true", "{whole}", "{whole}", "a"],
            &["proof"],
            &["true", "{whole}", "{whole}", "a1/a"],
            &["a1/proof"],
        );
        check(TaskKind::RecursionDeferred, &["common", "data"], &["proof"], &["a1/common", "a1/data"], &["a1/proof"]);
        for kind in [TaskKind::ShrinkWrap, TaskKind::PlonkWrap, TaskKind::Groth16Wrap] {
            check(kind, &["proof"], &["wrapped"], &["a1/proof"], &["a1/wrapped"]);
        }
    }

    #[track_caller]
    fn check_refused(kind: TaskKind, inputs: &[&str], outputs: &[&str], part: &str) {
        let error = payload(kind, inputs, outputs).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn lists_of_another_form_are_refused() {
        let shard = TaskKind::ProveShard;
        check_refused(shard, &["elf", "common", "record"], &["proof"], "3 inputs and 1 outputs");
        check_refused(shard, &["elf", "common", "record", "t7"], &[], "4 inputs and 0 outputs");
        check_refused(shard, &["elf", "common", "record", "t7"], &["proof"], "1 outputs and the marker \"t7\"");
        check_refused(shard, &["elf", "common", "record", NO_MARKER], &["proof", "events"], "do not belong together");
        check_refused(shard, &["elf", "common", "record", "other"], &["proof"], "do not belong together");
        let reduce = TaskKind::RecursionReduce;
        check_refused(reduce, &["true", "{whole}"], &["proof"], "2 inputs");
        check_refused(reduce, &["true", "{whole}", "{first}"], &["proof"], "3 inputs");
        check_refused(reduce, &["true", "{whole}", "{first}", "a", "{second}"], &["proof"], "5 inputs");
        check_refused(reduce, &["yes", "{whole}", "{first}", "a"], &["proof"], "\"yes\" instead of a boolean");
        check_refused(TaskKind::RecursionDeferred, &["common"], &["proof"], "1 inputs");
        check_refused(TaskKind::ShrinkWrap, &["proof", "another"], &["wrapped"], "2 inputs");
        check_refused(TaskKind::Groth16Wrap, &["proof"], &["a", "b"], "2 outputs");
    }
}
