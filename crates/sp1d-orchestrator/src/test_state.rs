//! The state of an orchestrator without dispatcher, sessions and runner, for unit tests.

use crate::{
    runner::{request::ProofRequest, task::TaskSpec},
    settings::{OrchestratorSettings, Verify},
    state::{
        dispatcher_input::DispatcherInput,
        published::{DispatchWriter, RegisteredAttempt, TryWriter},
        shared_state::SharedState,
    },
    tries::{attempt_rights::AttemptRights, running::RunningTry},
    workers::{connected_worker::ConnectedWorker, worker_address::WorkerAddress},
};
use bytes::Bytes;
use sp1d_protocol::{
    Connection, ShardTask, TaskPayload,
    wire::{self, ToWorker},
};
use sp1d_scheduler::{AttemptId, KindSet, OriginId, SessionId, TryId, WorkerId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
};
use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc},
};

/// The shared state, and what the dispatcher would have.
pub(crate) struct TestState {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) writer: DispatchWriter,
    pub(crate) inputs: mpsc::Receiver<DispatcherInput>,
    /// A try with every result verified. Its checks are not set.
    pub(crate) running_try: Arc<RunningTry>,
}

/// Returns a shard without a marker.
pub(crate) fn shard() -> TaskSpec {
    let task = ShardTask {
        program: "program".to_owned(),
        common_input: "common".to_owned(),
        record: "record".to_owned(),
        result: "result".to_owned(),
        marker: None,
    };
    TaskSpec { payload: TaskPayload::ProveShard(task), needed_bytes: 0, cycles: 0 }
}

impl TestState {
    /// Creates the state. Needs a tokio runtime.
    pub(crate) fn new() -> Self {
        let settings = OrchestratorSettings::new(wire::Build::default().into());
        let (inbox, inputs) = mpsc::channel(16);
        let (writer, try_writer) = (DispatchWriter::default(), TryWriter::default());
        let shared = SharedState::new(settings, None, None, inbox, Handle::current(), (&writer, &try_writer));
        let request = ProofRequest::core(Bytes::new(), Bytes::new(), "{}".to_owned());
        let (progress, _) = broadcast::channel(16);
        let running_try = RunningTry::new(TryId(1), &request, None, Verify::All, Arc::default(), false, progress);
        Self { shared: Arc::new(shared), writer, inputs, running_try: Arc::new(running_try) }
    }

    /// Registers a connected worker. Returns what it is sent.
    pub(crate) fn connect(
        &self,
        session: u64,
        worker: u64,
        supported_kinds: KindSet,
    ) -> mpsc::Receiver<Result<ToWorker, tonic::Status>> {
        let (outbox, messages) = mpsc::channel(16);
        let connected = ConnectedWorker {
            worker_id: WorkerId(worker),
            origin: OriginId(worker.into()),
            name: "worker".into(),
            certificate: None,
            trusted: false,
            address: WorkerAddress::Local,
            address_text: "address".into(),
            supported_kinds,
            missing_capabilities: BTreeMap::new(),
            outbox,
            closer: Connection::new(tokio::io::empty()).1,
            close_reason: Arc::default(),
            threads: 1,
            slots: 1,
            machine_bytes: 0,
            attempt_memory: Mutex::default(),
            provers: 1,
            largest_cut: None,
            cut_of_last_result: Default::default(),
            hardware: String::new(),
            gpus: Mutex::default(),
            done: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            left_on_purpose: AtomicBool::new(false),
        };
        self.shared.workers().insert(SessionId(session), Arc::new(connected));
        messages
    }

    /// Registers an attempt at [`shard`], which `worker` got in `session`.
    pub(crate) fn register(&self, attempt: u64, session: u64, worker: u64) -> RegisteredAttempt {
        let spec = shard();
        let registered = RegisteredAttempt {
            session: SessionId(session),
            worker_id: WorkerId(worker),
            worker_name: "worker".into(),
            worker_address: "address".into(),
            running_try: self.running_try.clone(),
            outputs: spec.payload.outputs(),
            rights: Arc::new(AttemptRights::new(&spec, Vec::new(), 0)),
            resumes: None,
        };
        self.writer.add_attempt(AttemptId(attempt), registered.clone());
        registered
    }
}
