//! The messages of a session, and those between a worker and its prover process.

use crate::harness::{FuzzMemory, FuzzTarget};
use prost::Message;
use sp1d_artifacts::Digest;
use sp1d_model::{AttemptId, TaskId, TaskKind, clean_line};
use sp1d_protocol::{
    ArtifactRef, Assignment, Build, DeferredTask, MessageLimits, ReducePart, ReduceTask, ShardMarker, ShardTask,
    TaskPayload, WrapTask, failure_kind_from_wire, failure_kind_to_wire, kind_from_wire, kind_to_wire, prover_wire,
    wire::{self, from_worker, to_worker},
};
use std::fmt::Debug;

/// The messages of a session. The first byte of an input selects the message.
pub const SESSION: FuzzTarget = FuzzTarget {
    name: "session",
    max_bytes: 64 << 10,
    // A repeated field costs up to 40 bytes for 2 encoded ones. Its list grows by doubling, and exists twice.
    memory: FuzzMemory { base_bytes: 1 << 20, per_byte: 512 },
    dictionary: &[
        b"program",
        b"record",
        b"made-a7-1",
        b"../",
        b"\x12\x20",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    seeds,
    check,
};

/// Number of messages of [`check`].
const MESSAGES: u8 = 10;

fn check(input: &[u8]) {
    let Some((message, bytes)) = input.split_first() else { return };
    match message % MESSAGES {
        0 => check_message(bytes, check_from_worker),
        1 => check_message(bytes, check_to_worker),
        2 => check_message(bytes, check_hello),
        3 => check_message(bytes, |reply: wire::HelloReply| reply.build.into_iter().for_each(check_build)),
        4 => check_message(bytes, check_assign),
        5 => check_message::<wire::FetchRequest>(bytes, drop),
        6 => check_message::<wire::ArtifactPart>(bytes, drop),
        7 => check_message::<wire::UploadPart>(bytes, drop),
        8 => check_message(bytes, check_to_prover),
        _ => check_message::<prover_wire::FromProver>(bytes, drop),
    }
}

/// Checks that a message that can be decoded is the same after it was encoded again. Then passes it to `check`.
fn check_message<M: Message + Default + PartialEq + Debug>(bytes: &[u8], check: impl FnOnce(M)) {
    let Ok(message) = M::decode(bytes) else { return };
    let encoded = message.encode_to_vec();
    assert_eq!(M::decode(encoded.as_slice()).as_ref(), Ok(&message));
    check(message);
}

fn check_from_worker(message: wire::FromWorker) {
    if let Some(from_worker::Message::Failed(failed)) = message.message {
        let kind = failure_kind_from_wire(failed.kind());
        assert_eq!(failure_kind_from_wire(failure_kind_to_wire(kind)), kind);
    }
}

fn check_to_worker(message: wire::ToWorker) {
    if let Some(to_worker::Message::Assign(assign)) = message.message {
        check_assign(assign);
    }
}

fn check_to_prover(message: prover_wire::ToProver) {
    if let Some(prover_wire::to_prover::Message::Run(run)) = message.message
        && let Ok(assign) = wire::Assign::decode(run.assign)
    {
        check_assign(assign);
    }
}

/// Checks the text of a peer that is kept.
#[track_caller]
fn check_text(text: &str, max_characters: usize) {
    assert_eq!(clean_line(text, max_characters), text);
}

fn check_hello(hello: wire::HelloRequest) {
    for kind in TaskKind::ALL {
        if hello.kind_set().contains(kind) {
            assert!(hello.kinds().any(|named| kind_from_wire(named) == Some(kind)));
        }
    }
    for reason in hello.missing_capability_texts().values() {
        check_text(reason, 400);
    }
    hello.build.into_iter().for_each(check_build);
}

fn check_build(build: wire::Build) {
    let build = Build::from(build);
    for text in [&build.sp1_version, &build.circuit_version, &build.release].into_iter().chain(&build.features) {
        check_text(text, 64);
    }
    assert!(build.features.len() <= 16 && build.recursion_root.len() <= 64);
    assert_eq!(build.check_worker(&build), Ok(()));
    assert_eq!(Build::from(wire::Build::from(build.clone())), build);
}

fn check_assign(assign: wire::Assign) {
    let Ok(assignment) = Assignment::try_from(assign) else { return };
    let outputs = assignment.payload.outputs();
    let inputs = assignment.payload.inputs();
    let names = inputs.iter().map(|input| &input.artifact.name);
    for name in names.chain([&assignment.proof, &outputs.result]).chain(&outputs.event_list) {
        assert!((1..=MessageLimits::NAME_BYTES).contains(&name.len()), "{name:?}");
        check_text(name, usize::MAX);
    }
    // A reduction has the most.
    assert!(inputs.len() <= MessageLimits::PARTS);
    assert!(inputs.iter().all(|input| input.artifact.length <= MessageLimits::ARTIFACT_BYTES));
    assert!(assignment.options.len() <= MessageLimits::TEXT_BYTES);
    assert_eq!(Assignment::try_from(wire::Assign::from(assignment.clone())), Ok(assignment));
}

fn artifact(name: &str) -> ArtifactRef {
    ArtifactRef { name: name.to_owned(), digest: Digest::of(name.as_bytes()), length: 1000 }
}

fn payload(kind: TaskKind) -> TaskPayload<ArtifactRef> {
    let result = "result".to_owned();
    let shard = |result, marker| {
        let (program, common_input, record) = (artifact("program"), artifact("common"), artifact("record"));
        ShardTask { program, common_input, record, result, marker }
    };
    let wrap = |result| WrapTask { proof: artifact("proof"), result };
    match kind {
        TaskKind::ProveShard => {
            let marker = ShardMarker { task: TaskId(4), event_list: "events".to_owned() };
            TaskPayload::ProveShard(shard(result, Some(marker)))
        }
        TaskKind::NormalizeShard => TaskPayload::NormalizeShard(shard(result, None)),
        TaskKind::RecursionReduce => {
            let part = |name: &str| ReducePart { range: format!("{{\"range\":\"{name}\"}}"), proof: artifact(name) };
            let parts = vec![part("a"), part("b")];
            TaskPayload::RecursionReduce(ReduceTask { is_last: true, range: "{}".to_owned(), parts, result })
        }
        TaskKind::RecursionDeferred => {
            let (common_input, deferred_data) = (artifact("common"), artifact("data"));
            TaskPayload::RecursionDeferred(DeferredTask { common_input, deferred_data, result })
        }
        TaskKind::ShrinkWrap => TaskPayload::ShrinkWrap(wrap(result)),
        TaskKind::PlonkWrap => TaskPayload::PlonkWrap(wrap(result)),
        TaskKind::Groth16Wrap => TaskPayload::Groth16Wrap(wrap(result)),
    }
}

fn assign(kind: TaskKind) -> wire::Assign {
    let assignment = Assignment {
        attempt: AttemptId(7),
        proof: "p1".to_owned(),
        payload: payload(kind),
        options: "{\"shard_size\":1}".to_owned(),
        memory_bytes: 5 << 30,
        key: Some(Digest::of(b"key")),
        resumes: Some(AttemptId(3)),
    };
    assignment.into()
}

fn build() -> wire::Build {
    let build = Build {
        sp1_version: "6.10.0".to_owned(),
        circuit_version: "v6.1.0".to_owned(),
        recursion_root: vec![7; 32],
        features: vec!["experimental".to_owned()],
        release: "0.1.0".to_owned(),
    };
    build.into()
}

fn hello() -> wire::HelloRequest {
    let readiness = wire::Readiness {
        ready: true,
        holds: vec![1, 300, u64::MAX],
        resumable: vec![wire::Resumable { attempt: 5, key: vec![9; 32].into() }],
        memory: Some(wire::AttemptMemory { each_bytes: 4 << 30, alone_bytes: 8 << 30 }),
        ..wire::Readiness::default()
    };
    let missing = wire::MissingCapability {
        kind: wire::TaskKind::Groth16Wrap.into(),
        reason: "the circuit files are missing".to_owned(),
    };
    wire::HelloRequest {
        build: Some(build()),
        machine: Some(wire::Machine {
            threads: 16,
            memory_bytes: 64 << 30,
            cpu: "a processor".to_owned(),
            provers: 2,
            gpus: vec![wire::Gpu { model: "a GPU".to_owned(), memory_bytes: 24 << 30 }],
            largest_cut: 285_212_672,
            pinned_bytes: 8_600_000_000,
            global_dependencies_opt: true,
        }),
        name: "prover-7".to_owned(),
        readiness: Some(readiness),
        kinds: TaskKind::ALL.into_iter().map(|kind| kind_to_wire(kind).into()).collect(),
        missing_capabilities: vec![missing],
        ready_provers: 1,
        failed_provers: 1,
    }
}

fn worker_messages() -> Vec<from_worker::Message> {
    use from_worker::Message as M;
    let failed = wire::Failed {
        attempt: 7,
        kind: wire::FailureKind::OutOfMemory.into(),
        text: "the kernel killed the prover".to_owned(),
    };
    vec![
        M::Heartbeat(wire::Heartbeat {}),
        M::GpuReadings(wire::GpuReadings { gpus: vec![wire::GpuReading { celsius: Some(61), ..Default::default() }] }),
        M::Readiness(hello().readiness.unwrap_or_default()),
        M::Started(wire::Started { attempt: 7 }),
        M::DeferredEventsUploaded(wire::DeferredEventsUploaded { attempt: 7 }),
        M::Done(wire::Done { attempt: 7, proving_ms: 12_345 }),
        M::Failed(failed),
        M::Goodbye(wire::Goodbye { reason: "stopped".to_owned(), returns: true }),
        M::OthersWaiting(wire::OthersWaiting { count: 2 }),
    ]
}

fn messages_to_prover() -> Vec<prover_wire::to_prover::Message> {
    use prover_wire::{IoAction, IoError, Reply, Run, reply::Outcome, to_prover::Message as M};
    let error = IoError { action: IoAction::Fetch.into(), name: "record".to_owned(), reason: "lost".to_owned() };
    vec![
        M::Run(Run { attempt: 1, place: 0, assign: assign(TaskKind::ProveShard).encode_to_vec().into() }),
        M::Cancel(prover_wire::Cancel { attempt: 1, is_last: true }),
        M::Reply(Reply { call: 3, outcome: Some(Outcome::Content(vec![1, 2, 3].into())) }),
        M::Reply(Reply { call: 4, outcome: Some(Outcome::Error(error)) }),
        M::ReleaseMemory(prover_wire::ReleaseMemory {}),
    ]
}

fn prover_messages() -> Vec<prover_wire::from_prover::Message> {
    use prover_wire::{Call, Delivery, Ended, Failure, call::What, from_prover::Message as M};
    let delivery = Delivery { name: "result".to_owned(), content: vec![1, 2, 3].into() };
    let failure = Failure { kind: wire::FailureKind::Engine.into(), text: "not enough memory".to_owned() };
    vec![
        M::Ready(prover_wire::Ready {}),
        M::LoadFailed(prover_wire::LoadFailed { reason: "no memory".to_owned(), is_temporary: true }),
        M::Call(Call { call: 1, attempt: 2, what: Some(What::Fetch("record".to_owned())) }),
        M::Call(Call { call: 2, attempt: 2, what: Some(What::Deliver(delivery)) }),
        M::Call(Call {
            call: 3,
            attempt: 2,
            what: Some(What::ReportDeferredEvents(prover_wire::ReportDeferredEvents {})),
        }),
        M::Ended(Ended { attempt: 2, failure: Some(failure) }),
        M::Busy(prover_wire::Busy { busy: true }),
    ]
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |message: u8, content: &dyn DynMessage| seeds.push([vec![message], content.encoded()].concat());
    for message in worker_messages() {
        add(0, &wire::FromWorker { message: Some(message) });
    }
    for kind in TaskKind::ALL {
        add(1, &wire::ToWorker { message: Some(to_worker::Message::Assign(assign(kind))) });
        add(4, &assign(kind));
    }
    add(2, &hello());
    let reply = wire::HelloReply {
        build: Some(build()),
        session: 3,
        heartbeat_ms: 1000,
        silence_ms: 3000,
        orchestrator: vec![1; 16].into(),
        lineage: vec![2; 16].into(),
        name: "sp1d serve".to_owned(),
        ..wire::HelloReply::default()
    };
    add(3, &reply);
    add(5, &wire::FetchRequest { attempt: 7, name: "record".to_owned() });
    let header = wire::ArtifactHeader { digest: vec![3; 32].into(), length: 1000 };
    add(6, &wire::ArtifactPart { part: Some(wire::artifact_part::Part::Header(header)) });
    let chunk = wire::Chunk { zstd: false, decoded_length: 3, content: vec![1, 2, 3].into() };
    add(7, &wire::UploadPart { part: Some(wire::upload_part::Part::Chunk(chunk)) });
    for message in messages_to_prover() {
        add(8, &prover_wire::ToProver { message: Some(message) });
    }
    for message in prover_messages() {
        add(9, &prover_wire::FromProver { message: Some(message) });
    }
    seeds
}

/// A message of any type.
trait DynMessage {
    fn encoded(&self) -> Vec<u8>;
}

impl<M: Message> DynMessage for M {
    fn encoded(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}
