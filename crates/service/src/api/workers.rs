//! `/v1/workers`.

use super::problem::Problem;
use crate::{ListStatus, Service, metrics::state_of};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use orchestrator::WorkerInfo;
use serde::Serialize;
use utoipa::ToSchema;

/// A connected worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    /// Its name.
    name: String,
    /// Where it was reached.
    address: String,
    /// What it is doing: starting, idle, busy, draining (it finishes what it has, and gets nothing more), drained, or quarantined (it gets nothing for a while: too much of
    /// what it did was bad).
    state: &'static str,
    /// Attempts that it holds.
    holds: usize,
    /// Tasks whose result counted, since it connected.
    done: u64,
    /// Attempts that failed or came out wrong, since it connected.
    faults: u64,
    /// Why it is in quarantine.
    quarantine: Option<String>,
    /// Threads that prove.
    threads: u32,
    /// Memory of its machine in bytes; 0 for unknown.
    memory_bytes: u64,
    /// Its processor.
    cpu: String,
    /// Kinds of tasks that it does.
    kinds: Vec<String>,
}

impl From<WorkerInfo> for Worker {
    fn from(info: WorkerInfo) -> Self {
        let state = state_of(&info);
        Self {
            name: info.name,
            address: info.address,
            state,
            holds: info.holds,
            done: info.done,
            faults: info.faults,
            quarantine: info.quarantine,
            threads: info.threads,
            memory_bytes: info.memory_bytes,
            cpu: info.cpu,
            kinds: info.kinds.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Workers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workers {
    /// Those that are connected, in the order in which they came.
    pub(crate) workers: Vec<Worker>,
    /// How the list of workers was last read.
    pub(crate) list: ListStatus,
}

impl Workers {
    pub(crate) fn now(service: &Service) -> Self {
        let workers = service.workers().into_iter().map(Into::into).collect();
        Self { workers, list: service.list_status() }
    }
}

/// Lists the connected workers.
#[utoipa::path(get, path = "/v1/workers", tag = "workers", responses((status = 200, body = Workers)))]
pub(crate) async fn list(State(service): State<Service>) -> Json<Workers> {
    Json(Workers::now(&service))
}

/// Lets a worker, named by name or address, finish what it proves and gives it nothing more.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/drain",
    tag = "workers",
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn drain(State(service): State<Service>, Path(worker): Path<String>) -> Result<StatusCode, Problem> {
    service.drain(&worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives tasks again to a worker that was drained.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/resume",
    tag = "workers",
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn resume(State(service): State<Service>, Path(worker): Path<String>) -> Result<StatusCode, Problem> {
    service.resume(&worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a worker go. One that came by itself may come again; one of the list is called again when the list is read anew.
#[utoipa::path(
    delete,
    path = "/v1/workers/{worker}",
    tag = "workers",
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn forget(State(service): State<Service>, Path(worker): Path<String>) -> Result<StatusCode, Problem> {
    service.forget(&worker)?;
    Ok(StatusCode::NO_CONTENT)
}
