//! How load is made and measured. It does not know which loads a part compares.

mod driver;
mod flame_recording;
mod processor_time;
mod records;

pub(crate) use driver::{DoneTask, LoadDriver, LoadEnd, LoadTask};
pub(crate) use flame_recording::FlameRecording;
pub(crate) use processor_time::{process_seconds, thread_seconds};
pub(crate) use records::{RESULT_BYTES, random_record, shrinking_record};
