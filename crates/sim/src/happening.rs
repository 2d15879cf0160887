//! Everything that can happen in a world, and the messages between orchestrator and workers.

use crate::plan::Value;
use scheduler::{AttemptId, Event, KindSet, PeerId, ProofId, TaskId, WorkerId};

/// A machine, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MachineId(pub(crate) usize);

/// A message from a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToOrchestrator {
    /// The first message of a session.
    Join {
        peer: PeerId,
        /// In units. Most tasks need one unit.
        memory: u64,
        slots: u32,
        kinds: KindSet,
        holds: Vec<AttemptId>,
    },
    Heartbeat,
    Started(AttemptId),
    Marker(AttemptId),
    /// The attempt has a result, or claims to have one (`None`).
    Reported {
        attempt: AttemptId,
        value: Option<Value>,
    },
    Failed {
        attempt: AttemptId,
        text: &'static str,
    },
    /// The attempt needed more memory than the worker has.
    OutOfMemory(AttemptId),
    /// The prover is restarting.
    Unready,
    /// The prover is loaded again.
    Ready,
    /// The connection is closed.
    Closed,
}

/// A message from the orchestrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToWorker {
    Assign {
        attempt: AttemptId,
        task: TaskId,
    },
    Cancel(AttemptId),
    Adopted(AttemptId),
    /// The orchestrator knows how the attempt ended. The worker may forget it.
    Received(AttemptId),
    /// The connection is closed.
    Close,
}

/// Something that is scheduled to happen at a given time.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A message of a worker arrives.
    Said { session: WorkerId, message: ToOrchestrator },
    /// A message of the orchestrator arrives.
    Told { machine: MachineId, session: WorkerId, message: ToWorker },
    /// A heartbeat is due.
    Beat { machine: MachineId, session: WorkerId },
    /// An attempt reaches its marker.
    Marker { machine: MachineId, attempt: AttemptId },
    /// An attempt may have ended.
    JobEnd { machine: MachineId, attempt: AttemptId },
    /// A prover is loaded again.
    ProverUp { machine: MachineId },
    /// A worker ends its session if it still receives nothing.
    GiveUp { machine: MachineId, session: WorkerId },
    /// A crashed machine is available again.
    PowerOn { machine: MachineId },
    /// The orchestrator dials a worker.
    Dial { machine: MachineId },
    /// A proof is accepted.
    ProofBegins(ProofId),
    /// The controller submits a task.
    Submit(TaskId),
    /// A proof is cancelled by its user.
    ProofCancelled(ProofId),
    /// A proof ends completely.
    ProofOver(ProofId),
    /// The verification of a result ends.
    Verdict { attempt: AttemptId, good: bool },
    /// An operator resumes a drained worker.
    Resume(WorkerId),
    /// Every drained worker is resumed.
    ResumeAll,
    /// The scheduler receives an event a second time.
    Echo(Event),
    /// A planned fault strikes.
    Strike(usize),
    /// The liveness phase starts.
    Heal,
}

impl Happening {
    /// Returns true if this happens on the orchestrator. It is then delayed while the orchestrator is frozen.
    pub(crate) const fn is_the_orchestrators(&self) -> bool {
        match self {
            Self::Said { .. }
            | Self::Dial { .. }
            | Self::ProofBegins(_)
            | Self::Submit(_)
            | Self::ProofCancelled(_)
            | Self::ProofOver(_)
            | Self::Verdict { .. }
            | Self::Resume(_)
            | Self::ResumeAll
            | Self::Echo(_) => true,
            Self::Told { .. }
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
            Self::Told { machine, .. }
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
