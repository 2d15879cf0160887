//! `/v1/workers`.

use super::problem::Problem;
use crate::{Service, metrics::state_of};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use client::{Lost, Worker, Workers};
use orchestrator::{AbsentWorker, WorkerInfo};

fn connected(info: WorkerInfo) -> Worker {
    Worker {
        state: state_of(&info).to_owned(),
        name: info.name,
        address: info.address,
        holds: info.holds,
        done: info.done,
        faults: info.faults,
        quarantine: info.quarantine,
        lost: None,
        threads: info.threads,
        memory_bytes: info.memory_bytes,
        cpu: info.cpu,
        kinds: info.kinds.iter().map(ToString::to_string).collect(),
    }
}

fn absent(AbsentWorker { name, address, since, reason, last_try }: AbsentWorker) -> Worker {
    let lost = Some(Lost { since: since.into(), reason, last_try });
    Worker { name, address, state: "lost".to_owned(), lost, ..Worker::default() }
}

pub(super) fn now(service: &Service) -> Workers {
    let absent = service.orchestrator().absent_workers().into_iter().map(absent);
    let workers = service.workers().into_iter().map(connected).chain(absent).collect();
    Workers { workers, list: service.list_status() }
}

/// Lists the connected workers, and the disconnected workers, whose state is `lost`.
#[utoipa::path(get, path = "/v1/workers", tag = "workers", responses((status = 200, body = Workers)))]
pub(crate) async fn list(State(service): State<Service>) -> Json<Workers> {
    Json(now(&service))
}

/// Drains a worker, given by name or address. It finishes the attempts that it is proving and gets no further tasks.
/// Attempts that only wait on the worker move to other workers.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/drain",
    tag = "workers",
    params(("worker" = String, Path, description = "Name or address of the worker.")),
    responses((status = 204), (status = 404, description = "There is no such worker.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn drain(State(service): State<Service>, Path(worker): Path<String>) -> Result<StatusCode, Problem> {
    service.drain(&worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the draining of a worker, so that it gets tasks again.
#[utoipa::path(
    post,
    path = "/v1/workers/{worker}/resume",
    tag = "workers",
    params(("worker" = String, Path, description = "Name or address of the worker.")),
    responses((status = 204), (status = 404, description = "There is no such worker.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn resume(State(service): State<Service>, Path(worker): Path<String>) -> Result<StatusCode, Problem> {
    service.resume(&worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a connected or disconnected worker. A worker that joined by itself can join again. A worker of the worker
/// list is connected again the next time that the list is read.
#[utoipa::path(
    delete,
    path = "/v1/workers/{worker}",
    tag = "workers",
    params(("worker" = String, Path, description = "Name or address of the worker.")),
    responses((status = 204), (status = 404, description = "There is no such worker.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn forget(State(service): State<Service>, Path(worker): Path<String>) -> Result<StatusCode, Problem> {
    service.forget(&worker)?;
    Ok(StatusCode::NO_CONTENT)
}
