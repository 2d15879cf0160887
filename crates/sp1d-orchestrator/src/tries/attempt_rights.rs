//! What the attempts of a task may read and upload.

use crate::runner::task::TaskSpec;
use sp1d_protocol::MessageLimits;
use std::collections::HashSet;

/// What the attempts of a task may read and upload. A worker has no other access to the artifacts of a try, so it
/// sees only the parts of an execution that it proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptRights {
    readable: HashSet<String>,
    /// Maximum number of uncompressed bytes of all uploads together.
    pub(crate) upload_bytes: u64,
}

impl AttemptRights {
    /// Returns the rights of attempts of the task `spec`. `named` are the artifacts that its record names, and
    /// `max_event_bytes` limits what an attempt uploads for its marker.
    pub(crate) fn new(spec: &TaskSpec, named: Vec<String>, max_event_bytes: u64) -> Self {
        let mut readable: HashSet<String> = named.into_iter().collect();
        readable.extend(spec.payload.inputs().into_iter().map(|input| input.artifact.clone()));
        let event_bytes = match spec.payload.marker() {
            Some(_) => max_event_bytes.min(MessageLimits::UPLOADED_BYTES),
            None => 0,
        };
        Self { readable, upload_bytes: MessageLimits::RESULT_BYTES + event_bytes }
    }

    /// Returns true if the attempts may read the artifact `name`.
    pub(crate) fn may_read(&self, name: &str) -> bool {
        self.readable.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_protocol::{ShardMarker, ShardTask, TaskPayload};
    use sp1d_scheduler::TaskId;

    fn rights(has_marker: bool, named: &[&str], max_event_bytes: u64) -> AttemptRights {
        let marker = ShardMarker { task: TaskId(1), event_list: "events".to_owned() };
        let task = ShardTask {
            program: "program".to_owned(),
            common_input: "common".to_owned(),
            record: "record".to_owned(),
            result: "result".to_owned(),
            marker: has_marker.then_some(marker),
        };
        let spec = TaskSpec { payload: TaskPayload::ProveShard(task), needed_bytes: 0, cycles: 0 };
        AttemptRights::new(&spec, named.iter().copied().map(str::to_owned).collect(), max_event_bytes)
    }

    #[test]
    fn attempts_read_the_inputs_of_their_task_and_what_its_record_names() {
        let rights = rights(false, &["made-a1-0"], 0);
        for name in ["program", "common", "record", "made-a1-0"] {
            assert!(rights.may_read(name), "{name}");
        }
        for name in ["result", "events", "made-a1-1", "record-2", "stdin", ""] {
            assert!(!rights.may_read(name), "{name}");
        }
    }

    #[test]
    fn only_attempts_with_a_marker_upload_more_than_a_result() {
        let result = MessageLimits::RESULT_BYTES;
        assert_eq!(rights(false, &[], u64::MAX).upload_bytes, result);
        assert_eq!(rights(true, &[], 1000).upload_bytes, result + 1000);
        assert_eq!(rights(true, &[], u64::MAX).upload_bytes, result + MessageLimits::UPLOADED_BYTES);
    }
}
