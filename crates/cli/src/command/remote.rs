//! The subcommands that speak to a service.

use super::program::{print, read_program};
use crate::{
    args::{
        FetchArguments, LogsArguments, Mode, NamedWorkerArguments, OutputForm, ProofArguments, ProofsArguments, Remote,
        ShowArguments, SubmitArguments, WaitArguments,
    },
    client::{Client, Refused},
    exit::{self, Failure},
    input::read_stdin,
    output::OutputFile,
};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use service::{EventRecord, NewProof, Program, Proof, ProofEvent, ProofState};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Between two tries to reach a service that was there before.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn status(arguments: ShowArguments) -> Result<()> {
    let health: Value = Client::new(&arguments.remote.url)?.get("/healthz").await?;
    if arguments.remote.output == OutputForm::Json {
        return print(&health.to_string());
    }
    let count = |state: ProofState| health["proofs"][state.name()].as_u64().unwrap_or(0);
    let counts: Vec<String> =
        ProofState::ALL.iter().map(|state| format!("{} {}", count(*state), state.name())).collect();
    print(&format!("service:  {}, release {}", arguments.remote.url, health["release"].as_str().unwrap_or("unknown")))?;
    print(&format!("proofs:   {}", counts.join(", ")))?;
    print(&format!("workers:  {} connected, {} ready", health["workers"], health["ready_workers"]))
}

fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(head);
    table
}

pub(crate) async fn proofs(arguments: ProofsArguments) -> Result<()> {
    let state = arguments.state.map(|state| format!("&state={}", encoded(&state))).unwrap_or_default();
    let path = format!("/v1/proofs?limit={}{state}", arguments.limit);
    let found: Value = Client::new(&arguments.remote.url)?.get(&path).await?;
    if arguments.remote.output == OutputForm::Json {
        return print(&found["proofs"].to_string());
    }
    let mut table = table(["proof", "mode", "state", "priority", "tasks", "accepted", "what is wrong"]);
    for proof in found["proofs"].as_array().into_iter().flatten() {
        let text = |name: &str| proof[name].as_str().unwrap_or_default().to_owned();
        let tasks = format!("{}/{}", proof["tasks"]["done"], proof["tasks"]["known"]);
        let failure = proof["failure"]["text"].as_str().unwrap_or_default().to_owned();
        let priority = proof["priority"].to_string();
        table.add_row([text("id"), text("mode"), text("state"), priority, tasks, text("created"), failure]);
    }
    print(&table.to_string())
}

pub(crate) async fn workers(arguments: ShowArguments) -> Result<()> {
    let found: Value = Client::new(&arguments.remote.url)?.get("/v1/workers").await?;
    if arguments.remote.output == OutputForm::Json {
        return print(&found["workers"].to_string());
    }
    let mut table = table(["worker", "address", "state", "holds", "done", "faults", "threads", "memory"]);
    for worker in found["workers"].as_array().into_iter().flatten() {
        let text = |name: &str| worker[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| worker[name].to_string();
        let memory = format!("{} GB", worker["memory_bytes"].as_u64().unwrap_or(0) / 1_000_000_000);
        let counts = [number("holds"), number("done"), number("faults"), number("threads"), memory];
        table.add_row([text("name"), text("address"), text("state")].into_iter().chain(counts));
    }
    print(&table.to_string())?;
    if let Some(error) = found["list"]["error"].as_str() {
        print(&format!("the list of workers was not read: {error}"))?;
    }
    Ok(())
}

impl From<Mode> for service::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Core => Self::Core,
            Mode::Compressed => Self::Compressed,
            Mode::Groth16 => Self::Groth16,
            Mode::Plonk => Self::Plonk,
        }
    }
}

pub(crate) async fn submit(arguments: SubmitArguments) -> Result<()> {
    let program = read_program(&arguments.program.elf)?;
    let stdin = read_stdin(arguments.program.stdin.as_deref(), &arguments.program.input)?;
    let client = Client::new(&arguments.remote.url)?;
    let program: Program = client.upload("/v1/programs", program).await?;
    let input: Value = client.upload("/v1/inputs", stdin).await?;
    let request = NewProof {
        program: Some(program.id),
        input: input["id"].as_str().map(ToOwned::to_owned),
        mode: arguments.mode.into(),
        cycle_limit: arguments.program.cycle_limit,
        timeout_seconds: arguments.program.timeout,
        priority: arguments.priority,
        idempotency_key: arguments.idempotency_key,
        ..NewProof::default()
    };
    let proof: Proof = client.post("/v1/proofs", &request).await?;
    if !arguments.wait {
        return show(&proof, &arguments.remote, || print(&proof.id));
    }
    if arguments.remote.output == OutputForm::Table {
        print(&proof.id)?;
    }
    wait_for(&client, &proof.id, None, &arguments.remote).await
}

/// One proof: as JSON, or as `table` prints it.
fn show(proof: &Proof, remote: &Remote, table: impl FnOnce() -> Result<()>) -> Result<()> {
    if remote.output == OutputForm::Json { print(&serde_json::to_string(proof)?) } else { table() }
}

pub(crate) async fn wait(arguments: WaitArguments) -> Result<()> {
    let ProofArguments { proof, remote } = arguments.proof;
    let limit = arguments.timeout.map(Duration::from_secs);
    wait_for(&Client::new(&remote.url)?, &proof, limit, &remote).await
}

/// Waits until the proof has ended, over lost connections and restarts of the service. A proof that failed is this command's failure.
async fn wait_for(client: &Client, id: &str, limit: Option<Duration>, remote: &Remote) -> Result<()> {
    // An unknown proof, or no service at all, is told at once.
    let mut proof: Proof = client.get(&format!("/v1/proofs/{}", encoded(id))).await?;
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let end = async {
        let mut told = false;
        while !proof.state.is_final() {
            // Only its end counts: it ends when the proof does, or the connection.
            if let Ok(events) = client.events(&encoded(id), u64::MAX >> 1).await {
                events.for_each(|_| std::future::ready(())).await;
            }
            match client.get(&format!("/v1/proofs/{}", encoded(id))).await {
                Ok(now) => (proof, told) = (now, false),
                // It is not there any more, for example.
                Err(error) if error.is::<Refused>() => return Err(error),
                // The same again is no news.
                Err(error) if told => tracing::debug!(%error, "waiting on"),
                Err(error) => {
                    tracing::warn!(%error, "waiting on");
                    told = true;
                }
            }
            if !proof.state.is_final() {
                sleep(PAUSE).await;
            }
        }
        Ok(proof)
    };
    let proof = match deadline {
        None => end.await?,
        Some(deadline) => timeout_at(deadline, end).await.map_err(|_| {
            let seconds = limit.unwrap_or_default().as_secs();
            Failure::new(exit::TIMEOUT, format!("proof {id} had not ended after {seconds} s; it goes on"))
        })??,
    };
    show(&proof, remote, || {
        print(&format!(
            "proof {} is {}{}",
            proof.id,
            proof.state.name(),
            proof.shards.map(|shards| format!(": {shards} shards")).unwrap_or_default()
        ))
    })?;
    outcome(&proof)
}

/// How the command ends for a proof that has ended.
fn outcome(proof: &Proof) -> Result<()> {
    let code = match (proof.state, proof.failure.as_ref().map(|failure| failure.kind.as_str())) {
        (ProofState::Cancelled, _) => exit::INTERRUPTED,
        (ProofState::Failed, Some("guest")) => exit::PROGRAM,
        (ProofState::Failed, Some("request")) => exit::USAGE,
        (ProofState::Failed, Some("host" | "interrupted")) => exit::HOST,
        (ProofState::Failed, Some("no_workers" | "unable")) => exit::WORKERS,
        (ProofState::Failed, Some("timeout")) => exit::TIMEOUT,
        (ProofState::Failed, _) => exit::OTHER,
        (ProofState::Queued | ProofState::Running | ProofState::Done, _) => return Ok(()),
    };
    let text = proof
        .failure
        .as_ref()
        .map_or_else(|| format!("proof {} was cancelled", proof.id), |failure| failure.text.clone());
    Err(Failure::new(code, text).into())
}

pub(crate) async fn cancel(arguments: ProofArguments) -> Result<()> {
    let path = format!("/v1/proofs/{}", encoded(&arguments.proof));
    let proof: Proof = Client::new(&arguments.remote.url)?.ask(Method::DELETE, &path).await?;
    show(&proof, &arguments.remote, || match proof.state {
        ProofState::Running => print(&format!("proof {} is being cancelled", proof.id)),
        state => print(&format!("proof {} is {}", proof.id, state.name())),
    })
}

pub(crate) async fn fetch(arguments: FetchArguments) -> Result<()> {
    let output = OutputFile::reserve(&arguments.file)?;
    let path = format!("/v1/proofs/{}/proof", encoded(&arguments.proof));
    let content = Client::new(&arguments.remote.url)?.bytes(&path).await?;
    output.commit(&content)?;
    if arguments.remote.output == OutputForm::Json {
        let file = arguments.file.display().to_string();
        return print(&json!({ "proof": arguments.proof, "file": file, "bytes": content.len() }).to_string());
    }
    print(&format!("{} bytes in {}", content.len(), arguments.file.display()))
}

pub(crate) async fn logs(arguments: LogsArguments) -> Result<()> {
    let ProofArguments { proof: id, remote } = arguments.proof;
    let client = Client::new(&remote.url)?;
    let path = format!("/v1/proofs/{}", encoded(&id));
    let mut proof: Proof = client.get(&path).await?;
    let mut last = 0;
    loop {
        // After the end the service closes the stream; before, what has happened so far comes at once.
        let waits = !arguments.follow && !proof.state.is_final();
        match client.events(&encoded(&id), last).await {
            Ok(events) => {
                let mut events = std::pin::pin!(events);
                loop {
                    let next = events.next();
                    let next = if waits { timeout(PAUSE, next).await.ok().flatten() } else { next.await };
                    let Some(Ok(event)) = next else { break };
                    last = event.number;
                    print_event(&event, &remote)?;
                }
            }
            Err(error) if !arguments.follow || error.is::<Refused>() => return Err(error),
            Err(error) => tracing::warn!(%error, "following on"),
        }
        if !arguments.follow || proof.state.is_final() {
            return Ok(());
        }
        sleep(PAUSE).await;
        // Over lost connections and restarts, as long as there is something to come.
        match client.get(&path).await {
            Ok(now) => proof = now,
            Err(error) if error.is::<Refused>() => return Err(error),
            Err(error) => tracing::debug!(%error, "following on"),
        }
    }
}

fn print_event(record: &EventRecord, remote: &Remote) -> Result<()> {
    let value = serde_json::to_value(record)?;
    if remote.output == OutputForm::Json {
        return print(&value.to_string());
    }
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let what = match &record.event {
        ProofEvent::Queued => "accepted".to_owned(),
        ProofEvent::Started { start: 1 } => "begun".to_owned(),
        ProofEvent::Started { start } => format!("begun again (start {start})"),
        ProofEvent::Submitted { kind } => format!("found a task: {kind}"),
        ProofEvent::Remembered { kind } => format!("{kind}: done before"),
        ProofEvent::Assigned(attempt) => {
            format!("{} of task {} is given to {}", attempt.kind, attempt.task, attempt.worker)
        }
        ProofEvent::Proving(attempt) => {
            format!("{} of task {} is being proven by {}", attempt.kind, attempt.task, attempt.worker)
        }
        ProofEvent::Done(attempt) => format!("{} of task {} is done by {}", attempt.kind, attempt.task, attempt.worker),
        ProofEvent::AttemptFailed { attempt, reason } => {
            format!("{} of task {} failed on {}: {reason}", attempt.kind, attempt.task, attempt.worker)
        }
        ProofEvent::Dropped(attempt) => {
            format!("{} of task {} is not wanted any more from {}", attempt.kind, attempt.task, attempt.worker)
        }
        ProofEvent::Executed { cycles } => format!("executed: {cycles} cycles"),
        ProofEvent::WorkerReady { worker } => format!("worker {worker} is ready"),
        ProofEvent::WorkerLost { worker, reason } => format!("worker {worker} is gone ({reason})"),
        ProofEvent::Restarted { reason } => format!("begun again: {reason}"),
        ProofEvent::Verifying => "verifying".to_owned(),
        ProofEvent::Finished { state, failure } => {
            let why = failure.as_ref().map(|failure| format!(": {}", failure.text)).unwrap_or_default();
            format!("{}{why}", state.name())
        }
    };
    print(&format!("{}  {what}", text("at")))
}

async fn on_worker(arguments: NamedWorkerArguments, method: Method, action: &str, done: &str) -> Result<()> {
    let path = format!("/v1/workers/{}{action}", encoded(&arguments.worker));
    Client::new(&arguments.remote.url)?.call(method, &path).await?;
    if arguments.remote.output == OutputForm::Json {
        return print(&json!({ "worker": arguments.worker }).to_string());
    }
    print(&format!("worker {} {done}", arguments.worker))
}

pub(crate) async fn drain(arguments: NamedWorkerArguments) -> Result<()> {
    on_worker(arguments, Method::POST, "/drain", "finishes what it has and gets nothing more").await
}

pub(crate) async fn resume(arguments: NamedWorkerArguments) -> Result<()> {
    on_worker(arguments, Method::POST, "/resume", "gets tasks again").await
}

pub(crate) async fn forget(arguments: NamedWorkerArguments) -> Result<()> {
    on_worker(arguments, Method::DELETE, "", "was let go").await
}

/// A text as a part of a path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
