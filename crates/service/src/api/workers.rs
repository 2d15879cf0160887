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

/// Lists the workers that are connected, and those that are lost.
#[utoipa::path(get, path = "/v1/workers", tag = "workers", responses((status = 200, body = Workers)))]
pub(crate) async fn list(State(service): State<Service>) -> Json<Workers> {
    Json(now(&service))
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

/// Lets a worker go, a connected or a lost one. One that came by itself may come again; one of the list is called again
/// when the list is read anew.
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
