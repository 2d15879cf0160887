//! What happens in a world, and what its two sides say to each other.

use crate::plan::Value;
use scheduler::{AttemptId, Event, KindSet, PeerId, ProofId, TaskId, WorkerId};

/// A machine, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MachineId(pub(crate) usize);

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToOrchestrator {
    /// The first words of a session.
    Join {
        peer: PeerId,
        /// In units of which a usual task needs one.
        memory: u64,
        slots: u32,
        kinds: KindSet,
        holds: Vec<AttemptId>,
    },
    Heartbeat,
    Started(AttemptId),
    Marker(AttemptId),
    /// The result, or the claim to have delivered one.
    Reported {
        attempt: AttemptId,
        value: Option<Value>,
    },
    Failed {
        attempt: AttemptId,
        text: &'static str,
    },
    /// An attempt needed more memory than the worker has.
    OutOfMemory(AttemptId),
    /// The prover is being started again.
    Unready,
    /// The prover is loaded again.
    Ready,
    /// The connection is closed.
    Closed,
}

/// What the orchestrator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToWorker {
    Assign {
        attempt: AttemptId,
        task: TaskId,
    },
    Cancel(AttemptId),
    Adopted(AttemptId),
    /// How an attempt ended has arrived: it can be forgotten.
    Received(AttemptId),
    /// The connection is closed.
    Close,
}

/// Something that happens at its time.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A worker's words arrive.
    Said { session: WorkerId, message: ToOrchestrator },
    /// The orchestrator's words arrive.
    Told { machine: MachineId, session: WorkerId, message: ToWorker },
    /// It is time for a heartbeat.
    Beat { machine: MachineId, session: WorkerId },
    /// An attempt has come to its marker.
    Marker { machine: MachineId, attempt: AttemptId },
    /// An attempt may have ended.
    JobEnd { machine: MachineId, attempt: AttemptId },
    /// A prover is loaded again.
    ProverUp { machine: MachineId },
    /// A worker that hears nothing gives its session up.
    GiveUp { machine: MachineId, session: WorkerId },
    /// A crashed machine is back.
    PowerOn { machine: MachineId },
    /// The orchestrator dials a worker.
    Dial { machine: MachineId },
    /// A proof is accepted.
    ProofBegins(ProofId),
    /// The controller submits a task.
    Submit(TaskId),
    /// Nobody wants a proof any more.
    ProofCancelled(ProofId),
    /// All of a proof has come to its end.
    ProofOver(ProofId),
    /// A result was checked.
    Verdict { attempt: AttemptId, good: bool },
    /// A drained worker may go on.
    Resume(WorkerId),
    /// Every drained worker may go on.
    ResumeAll,
    /// The scheduler is told something once more.
    Echo(Event),
    /// A fault of the plan strikes.
    Strike(usize),
    /// Nothing is broken any more.
    Heal,
}

impl Happening {
    /// It happens on the orchestrator: not while that is frozen.
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

    /// The machine whose process does it: not while that is frozen.
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
