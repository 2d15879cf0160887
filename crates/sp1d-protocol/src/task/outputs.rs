//! What a task delivers.

/// An output of a task, by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOutput {
    /// The result.
    Result,
    /// The list of deferred events, which belongs to the task's marker.
    EventList,
}

/// The names of a task's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOutputs {
    /// Name of the result.
    pub result: String,
    /// Name of the list of deferred events; `None` if the task has no marker.
    pub event_list: Option<String>,
}

impl TaskOutputs {
    /// Returns the output with this name; `None` if no output has it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TaskOutput> {
        if self.result == name {
            Some(TaskOutput::Result)
        } else if self.event_list.as_deref() == Some(name) {
            Some(TaskOutput::EventList)
        } else {
            None
        }
    }

    /// Returns the name of an output; `None` if the task does not have this output.
    #[must_use]
    pub fn name(&self, output: TaskOutput) -> Option<&str> {
        match output {
            TaskOutput::Result => Some(&self.result),
            TaskOutput::EventList => self.event_list.as_deref(),
        }
    }

    /// Returns true if an output has this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}
