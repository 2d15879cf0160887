//! Converts tasks to and from SP1's lists. SP1 gives the inputs and outputs of a task a meaning by their position.
//! Everywhere else in this project they have names.
//!
//! This file uses nothing of SP1, so that its tests need no prover.

use sp1d_protocol::{DeferredTask, ReducePart, ReduceTask, ShardMarker, ShardTask, TaskPayload, WrapTask};
use sp1d_scheduler::{TaskId, TaskKind};

/// SP1's text in place of a marker, for a shard without one.
const NO_MARKER: &str = "dummy marker task";

/// The inputs and outputs of a task, as SP1 lists them: names of artifacts, and texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskLists {
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
}

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

impl TaskLists {
    /// Returns the task of `kind` that has these lists. `parse_marker` returns the task with a name.
    ///
    /// # Errors
    /// Fails if the lists are not those of a task of `kind`.
    pub(crate) fn payload(
        &self,
        kind: TaskKind,
        parse_marker: impl Fn(&str) -> Option<TaskId>,
    ) -> Result<TaskPayload<String>, TaskListError> {
        Ok(match kind {
            TaskKind::ProveShard => TaskPayload::ProveShard(self.shard(kind, parse_marker)?),
            TaskKind::NormalizeShard => TaskPayload::NormalizeShard(self.shard(kind, parse_marker)?),
            TaskKind::RecursionReduce => TaskPayload::RecursionReduce(self.reduce(kind)?),
            TaskKind::RecursionDeferred => TaskPayload::RecursionDeferred(self.deferred(kind)?),
            TaskKind::ShrinkWrap => TaskPayload::ShrinkWrap(self.wrap(kind)?),
            TaskKind::PlonkWrap => TaskPayload::PlonkWrap(self.wrap(kind)?),
            TaskKind::Groth16Wrap => TaskPayload::Groth16Wrap(self.wrap(kind)?),
        })
    }

    fn wrong_counts(&self, kind: TaskKind) -> TaskListError {
        TaskListError::Counts { kind, inputs: self.inputs.len(), outputs: self.outputs.len() }
    }

    fn shard(
        &self,
        kind: TaskKind,
        parse_marker: impl Fn(&str) -> Option<TaskId>,
    ) -> Result<ShardTask<String>, TaskListError> {
        let [program, common_input, record, marker] = self.inputs.as_slice() else {
            return Err(self.wrong_counts(kind));
        };
        let (result, deferred_events) = match self.outputs.as_slice() {
            [result] => (result, None),
            [result, deferred_events] => (result, Some(deferred_events)),
            _ => return Err(self.wrong_counts(kind)),
        };
        let marker = match (parse_marker(marker), deferred_events) {
            (Some(task), Some(name)) => Some(ShardMarker { task, deferred_events: name.clone() }),
            (None, None) if marker == NO_MARKER => None,
            _ => return Err(TaskListError::Marker { marker: marker.clone(), outputs: self.outputs.len() }),
        };
        Ok(ShardTask {
            program: program.clone(),
            common_input: common_input.clone(),
            record: record.clone(),
            result: result.clone(),
            marker,
        })
    }

    fn reduce(&self, kind: TaskKind) -> Result<ReduceTask<String>, TaskListError> {
        let ([is_complete, range, rest @ ..], [result]) = (self.inputs.as_slice(), self.outputs.as_slice()) else {
            return Err(self.wrong_counts(kind));
        };
        let (parts, []) = rest.as_chunks::<2>() else { return Err(self.wrong_counts(kind)) };
        if parts.is_empty() {
            return Err(self.wrong_counts(kind));
        }
        let part = |[range, proof]: &[String; 2]| ReducePart { range: range.clone(), proof: proof.clone() };
        Ok(ReduceTask {
            // Rust writes and reads only the words `true` and `false`, so the text is not lost.
            is_complete: is_complete.parse().map_err(|_| TaskListError::Flag(is_complete.clone()))?,
            range: range.clone(),
            parts: parts.iter().map(part).collect(),
            result: result.clone(),
        })
    }

    fn deferred(&self, kind: TaskKind) -> Result<DeferredTask<String>, TaskListError> {
        let ([common_input, deferred_data], [result]) = (self.inputs.as_slice(), self.outputs.as_slice()) else {
            return Err(self.wrong_counts(kind));
        };
        let (common_input, deferred_data) = (common_input.clone(), deferred_data.clone());
        Ok(DeferredTask { common_input, deferred_data, result: result.clone() })
    }

    fn wrap(&self, kind: TaskKind) -> Result<WrapTask<String>, TaskListError> {
        let ([proof], [result]) = (self.inputs.as_slice(), self.outputs.as_slice()) else {
            return Err(self.wrong_counts(kind));
        };
        Ok(WrapTask { proof: proof.clone(), result: result.clone() })
    }

    /// Returns the lists of a task. `name` returns the name that SP1 uses for an artifact or a marker.
    pub(crate) fn new(payload: &TaskPayload<String>, name: impl Fn(&str) -> String) -> Self {
        let result = name(payload.result());
        match payload {
            TaskPayload::ProveShard(task) | TaskPayload::NormalizeShard(task) => {
                let (marker, deferred_events) = match &task.marker {
                    Some(marker) => (name(&marker.task.to_string()), Some(name(&marker.deferred_events))),
                    None => (NO_MARKER.to_owned(), None),
                };
                Self {
                    inputs: vec![name(&task.program), name(&task.common_input), name(&task.record), marker],
                    outputs: std::iter::once(result).chain(deferred_events).collect(),
                }
            }
            TaskPayload::RecursionReduce(task) => {
                let flags = [task.is_complete.to_string(), task.range.clone()];
                let parts = task.parts.iter().flat_map(|part| [part.range.clone(), name(&part.proof)]);
                Self { inputs: flags.into_iter().chain(parts).collect(), outputs: vec![result] }
            }
            TaskPayload::RecursionDeferred(task) => {
                Self { inputs: vec![name(&task.common_input), name(&task.deferred_data)], outputs: vec![result] }
            }
            TaskPayload::ShrinkWrap(task) | TaskPayload::PlonkWrap(task) | TaskPayload::Groth16Wrap(task) => {
                Self { inputs: vec![name(&task.proof)], outputs: vec![result] }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(inputs: &[&str], outputs: &[&str]) -> TaskLists {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        TaskLists { inputs: owned(inputs), outputs: owned(outputs) }
    }

    fn payload(kind: TaskKind, lists: &TaskLists) -> Result<TaskPayload<String>, TaskListError> {
        lists.payload(kind, |text| text.strip_prefix('t')?.parse().ok().map(TaskId))
    }

    /// Checks that SP1 gets the same lists back, with the artifacts and the marker named by their attempt.
    #[track_caller]
    fn check(kind: TaskKind, inputs: &[&str], outputs: &[&str], scoped_inputs: &[&str], scoped_outputs: &[&str]) {
        let submitted = lists(inputs, outputs);
        let payload = payload(kind, &submitted).unwrap();
        assert_eq!(payload.kind(), kind);
        assert_eq!(TaskLists::new(&payload, str::to_owned), submitted);
        let scoped = TaskLists::new(&payload, |name| format!("a1/{name}"));
        assert_eq!(scoped, lists(scoped_inputs, scoped_outputs));
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
        let error = payload(kind, &lists(inputs, outputs)).unwrap_err().to_string();
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
