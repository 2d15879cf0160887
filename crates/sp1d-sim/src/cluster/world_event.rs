//! The events of a world.

use super::message::{ToOrchestrator, ToWorker};
use crate::scenario::MachineId;
use sp1d_scheduler::{AttemptId, DispatchEvent, SessionId, TaskId, TryId};

/// An event of a world. Each is scheduled for a time.
#[derive(Debug, Clone)]
pub(crate) enum WorldEvent {
    /// A message of a worker arrives.
    ReachesOrchestrator { session: SessionId, message: ToOrchestrator },
    /// A message of the orchestrator arrives.
    ReachesWorker { machine: MachineId, session: SessionId, message: ToWorker },
    /// A heartbeat is due.
    Beat { machine: MachineId, session: SessionId },
    /// An attempt reaches its marker.
    Marker { machine: MachineId, attempt: AttemptId },
    /// An attempt may have ended.
    JobEnd { machine: MachineId, attempt: AttemptId },
    /// A prover is loaded again.
    ProverUp { machine: MachineId },
    /// A worker ends its session if it still receives nothing.
    GiveUp { machine: MachineId, session: SessionId },
    /// A crashed machine is available again.
    PowerOn { machine: MachineId },
    /// The orchestrator dials a worker.
    Dial { machine: MachineId },
    /// A proof is accepted, and its try starts.
    TryStarts(TryId),
    /// The runner submits a task.
    Submit(TaskId),
    /// A user cancels a proof, and with it its try.
    TryCancelled(TryId),
    /// A try ends completely.
    TryOver(TryId),
    /// The verification of a result ends.
    ResultChecked { attempt: AttemptId, good: bool },
    /// A check takes much longer than usual, or waits behind such a check.
    CheckDelayed { attempt: AttemptId },
    /// The check of deferred events ends.
    DeferredEventsChecked { attempt: AttemptId, task: TaskId },
    /// An operator resumes a drained worker.
    Resume(SessionId),
    /// Every drained worker is resumed.
    ResumeAll,
    /// The dispatch state machine receives an event a second time.
    Echo(DispatchEvent),
    /// A planned fault strikes.
    Strike(usize),
    /// The liveness phase starts.
    Heal,
}

impl WorldEvent {
    /// Returns true if this happens on the orchestrator. It is then delayed while the orchestrator is frozen.
    pub(crate) const fn is_the_orchestrators(&self) -> bool {
        match self {
            Self::ReachesOrchestrator { .. }
            | Self::Dial { .. }
            | Self::TryStarts(_)
            | Self::Submit(_)
            | Self::TryCancelled(_)
            | Self::TryOver(_)
            | Self::ResultChecked { .. }
            | Self::CheckDelayed { .. }
            | Self::DeferredEventsChecked { .. }
            | Self::Resume(_)
            | Self::ResumeAll
            | Self::Echo(_) => true,
            Self::ReachesWorker { .. }
            | Self::Beat { .. }
            | Self::Marker { .. }
            | Self::JobEnd { .. }
            | Self::ProverUp { .. }
            | Self::GiveUp { .. }
            | Self::PowerOn { .. }
            | Self::Strike(_)
            | Self::Heal => false,
        }
    }

    /// Returns the machine whose process does this. It is delayed while that machine is frozen.
    pub(crate) const fn process(&self) -> Option<MachineId> {
        match self {
            Self::ReachesWorker { machine, .. }
            | Self::Beat { machine, .. }
            | Self::Marker { machine, .. }
            | Self::JobEnd { machine, .. }
            | Self::ProverUp { machine }
            | Self::GiveUp { machine, .. }
            | Self::Dial { machine } => Some(*machine),
            _ => None,
        }
    }
}
