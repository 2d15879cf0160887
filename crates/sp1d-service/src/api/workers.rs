//! `/v1/workers`.

use super::{path_part::PathPart, problem::Problem};
use crate::{queue::Service, telemetry::state_of};
use axum::{Json, extract::State, http::StatusCode};
use sp1d_model::{Disconnection, WorkerActivity, WorkerSummary, WorkersReport};
use sp1d_orchestrator::{DisconnectedWorker, WorkerInfo};

fn connected(info: WorkerInfo) -> WorkerSummary {
    WorkerSummary {
        state: state_of(&info),
        name: info.name,
        address: info.address,
        trusted: info.trusted,
        holds: info.holds,
        done: info.done,
        failed_attempts: info.failed_attempts,
        quarantine: info.quarantine,
        disconnection: None,
        threads: info.threads,
        memory_bytes: info.memory_bytes,
        hardware: info.hardware,
        gpus: info.gpus,
        kinds: info.kinds.iter().map(ToString::to_string).collect(),
    }
}

fn disconnected(DisconnectedWorker { name, address, since, reason, last_try }: DisconnectedWorker) -> WorkerSummary {
    let disconnection = Some(Disconnection { since: since.into(), reason, last_try });
    WorkerSummary { name, address, state: WorkerActivity::Disconnected, disconnection, ..WorkerSummary::default() }
}

pub(super) fn report(service: &Service) -> WorkersReport {
    let disconnected = service.orchestrator().disconnected_workers().into_iter().map(disconnected);
    let workers = service.workers().into_iter().map(connected).chain(disconnected).collect();
    WorkersReport { workers, list: service.list_status() }
}

/// Lists the connected workers, and the disconnected workers, whose state is `disconnected`.
#[utoipa::path(
    get,
    operation_id = "list_workers",
    path = "/v1/workers",
    tag = "workers",
    responses((status = 200, description = "The workers.", body = WorkersReport))
)]
pub(crate) async fn list(State(service): State<Service>) -> Json<WorkersReport> {
    Json(report(&service))
}

/// Drains a worker, given by name or address. It finishes the attempts that it is proving and gets no further tasks.
/// Attempts that only wait on the worker move to other workers.
#[utoipa::path(
    post,
    operation_id = "drain_worker",
    path = "/v1/workers/{worker}/drain",
    tag = "workers",
    params(("worker" = String, Path, description = "Name or address of the worker.")),
    responses(
        (status = 204, description = "The worker is draining or drained."),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such worker.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Several workers have this name.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn drain(State(service): State<Service>, PathPart(worker): PathPart) -> Result<StatusCode, Problem> {
    service.drain(&worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the draining of a worker, so that it gets tasks again.
#[utoipa::path(
    post,
    operation_id = "resume_worker",
    path = "/v1/workers/{worker}/resume",
    tag = "workers",
    params(("worker" = String, Path, description = "Name or address of the worker.")),
    responses(
        (status = 204, description = "The worker gets tasks."),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such worker.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Several workers have this name.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn resume(State(service): State<Service>, PathPart(worker): PathPart) -> Result<StatusCode, Problem> {
    service.resume(&worker).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a connected or disconnected worker. A worker that joined by itself can join again. A worker of the worker
/// list is connected again the next time that the list is read.
#[utoipa::path(
    delete,
    operation_id = "forget_worker",
    path = "/v1/workers/{worker}",
    tag = "workers",
    params(("worker" = String, Path, description = "Name or address of the worker.")),
    responses(
        (status = 204, description = "The worker was removed."),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such worker.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Several workers have this name.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn forget(State(service): State<Service>, PathPart(worker): PathPart) -> Result<StatusCode, Problem> {
    service.forget(&worker)?;
    Ok(StatusCode::NO_CONTENT)
}
