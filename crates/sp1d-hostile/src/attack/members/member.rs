//! A worker that speaks the protocol by itself, and can send what no honest worker sends.

use crate::{attack::target::AttackTarget, pool::HEARTBEAT};
use anyhow::{Context, Result, bail, ensure};
use futures::Stream;
use sp1d_artifacts::Blob;
use sp1d_model::TaskKind;
use sp1d_protocol::{
    Assignment, Closer, Connection, Role, chunk_to_wire, connect_client, dial, kind_to_wire,
    wire::{self, FromWorker, UploadPart, from_worker, session_client::SessionClient, to_worker, upload_part},
};
use sp1d_testing::fake_build;
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, transport::Channel};

/// Longest wait for a new task, before the last one is attacked again.
const TASK_TIME: Duration = Duration::from_millis(100);

/// A session of a hostile worker. It sends heartbeats and reads all messages, until it is dropped.
pub(super) struct HostileMember {
    pub(super) client: SessionClient<Channel>,
    outbox: mpsc::Sender<FromWorker>,
    tasks: mpsc::Receiver<Assignment>,
    last: Option<Assignment>,
    closer: Closer,
    heartbeats: AbortOnDropHandle<()>,
    _reader: AbortOnDropHandle<()>,
}

impl Drop for HostileMember {
    fn drop(&mut self) {
        self.closer.close();
    }
}

impl HostileMember {
    /// Joins as a worker that is ready for every kind of task.
    pub(super) async fn join(target: &AttackTarget, name: &str) -> Result<Self> {
        let mut stream = target.connect(target.join_port).await?;
        dial(&mut stream, Role::Worker).await?;
        let (connection, closer) = Connection::new(stream);
        let mut client = connect_client(connection).await.context("HTTP/2 was refused")?;
        let readiness = wire::Readiness { ready: true, ..Default::default() };
        let hello = wire::HelloRequest {
            build: Some(fake_build().into()),
            name: name.to_owned(),
            kinds: TaskKind::ALL.into_iter().map(|kind| kind_to_wire(kind).into()).collect(),
            readiness: Some(readiness.clone()),
            ..Default::default()
        };
        let reply = client.hello(hello).await?.into_inner();
        ensure!(reply.refusal.is_empty(), "the hello was refused: {}", reply.refusal);
        let (outbox, messages) = mpsc::channel(16);
        let mut inbound = client.control(ReceiverStream::new(messages)).await?.into_inner();
        let (sender, tasks) = mpsc::channel(64);
        let reader = tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let Some(to_worker::Message::Assign(assign)) = message.message else { continue };
                if let Ok(assignment) = Assignment::try_from(assign) {
                    // A task that does not fit into the channel is one of many.
                    let _ = sender.try_send(assignment);
                }
            }
        });
        let beats = outbox.clone();
        let heartbeats = tokio::spawn(async move {
            let beat = || FromWorker { message: Some(from_worker::Message::Heartbeat(wire::Heartbeat {})) };
            while beats.send(beat()).await.is_ok() {
                sleep(HEARTBEAT / 2).await;
            }
        });
        let (heartbeats, reader) = (AbortOnDropHandle::new(heartbeats), AbortOnDropHandle::new(reader));
        let member = Self { client, outbox, tasks, last: None, closer, heartbeats, _reader: reader };
        member.send(from_worker::Message::Readiness(readiness)).await?;
        target.act();
        Ok(member)
    }

    /// Returns the next task. If none comes soon, returns the last one again.
    ///
    /// # Errors
    /// Fails if the session has ended.
    pub(super) async fn task(&mut self) -> Result<Assignment> {
        loop {
            match timeout(TASK_TIME, self.tasks.recv()).await {
                Ok(Some(task)) => self.last = Some(task),
                Ok(None) => bail!("the session was ended"),
                Err(_) => {}
            }
            if let Some(task) = &self.last {
                return Ok(task.clone());
            }
        }
    }

    /// Returns the next task, however long that takes.
    ///
    /// # Errors
    /// Fails if the session has ended.
    pub(super) async fn new_task(&mut self) -> Result<Assignment> {
        self.tasks.recv().await.context("the session was ended")
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Fails if the session has ended.
    pub(super) async fn send(&self, message: from_worker::Message) -> Result<()> {
        self.outbox.send(FromWorker { message: Some(message) }).await.context("the session was ended")
    }

    /// Reports that the attempt has failed.
    pub(super) async fn fail(&self, task: &Assignment, text: String) -> Result<()> {
        let failed = wire::Failed { attempt: task.attempt.0, kind: wire::FailureKind::Engine.into(), text };
        self.send(from_worker::Message::Failed(failed)).await
    }

    /// Sends no more heartbeats.
    pub(super) fn fall_silent(&self) {
        self.heartbeats.abort();
    }

    /// Waits until the session ends.
    pub(super) async fn ended(&self) {
        self.closer.ended().await;
    }

    /// Uploads an artifact in these parts.
    pub(super) async fn upload(&self, parts: impl Stream<Item = UploadPart> + Send + 'static) -> Result<(), Status> {
        self.client.clone().upload(parts).await.map(|_| ())
    }
}

/// Returns the first part of an upload.
pub(super) fn header(task: &Assignment, name: &str, length: u64) -> UploadPart {
    let header = wire::UploadHeader { attempt: task.attempt.0, name: name.to_owned(), length };
    part(upload_part::Part::Header(header))
}

fn part(part: upload_part::Part) -> UploadPart {
    UploadPart { part: Some(part) }
}

/// Returns a part of an upload with a chunk.
pub(super) fn chunk(chunk: wire::Chunk) -> UploadPart {
    part(upload_part::Part::Chunk(chunk))
}

/// Returns all parts of an upload. The last one has the digest.
pub(super) fn whole(task: &Assignment, name: &str, blob: &Blob) -> Vec<UploadPart> {
    let chunks = blob.chunks().iter().map(|content| chunk(chunk_to_wire(content.clone())));
    let end = wire::UploadEnd { digest: blob.digest().as_bytes().to_vec().into() };
    [header(task, name, blob.len())].into_iter().chain(chunks).chain([part(upload_part::Part::End(end))]).collect()
}
