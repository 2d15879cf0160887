//! Test doubles for SP1: an engine and runners that prove nothing, and workers with such an engine. Other crates test
//! everything around the prover with them. The programs `fake-worker` and `fake-orchestrator` run the same doubles as
//! separate processes.
//!
//! This is a separate crate, and not a feature of `worker`, because the prover would otherwise be compiled twice: with
//! and without that feature.

mod endpoint_connector;
mod engine;
mod fake_keys;
mod fetched_inputs;
mod free_address;
mod hosted_program;
mod observed_traffic;
mod packet_capture;
mod panic_on_log;
mod pipe_connector;
mod recorded_logs;
mod recording_relay;
mod runner;
mod running_worker;
mod sdk_runner;
mod shards;

pub use endpoint_connector::EndpointConnector;
pub use engine::{
    Behavior, FakeEngine, deliver_result, do_honestly, finish_honestly, finish_with, ready, upload_deferred_events,
};
pub use fake_keys::FakeKeys;
pub use fetched_inputs::{FetchedInputs, fetch_inputs};
pub use free_address::{free_address, free_address_on};
pub use hosted_program::HostedProgram;
pub use observed_traffic::ObservedTraffic;
pub use packet_capture::PacketCapture;
pub use panic_on_log::DispatcherPanic;
pub use pipe_connector::PipeConnector;
pub use recorded_logs::RecordedLogs;
pub use recording_relay::RecordingRelay;
pub use runner::{FakeRunner, GAS_PER_SHARD, SLOW_RESULT, request};
pub use running_worker::{RunningWorker, fake_build, introduction, introduction_with};
pub use sdk_runner::{FakeSdkRunner, unverifiable_proof};
pub use shards::{events_of, expected_proof, honest_result, record};
