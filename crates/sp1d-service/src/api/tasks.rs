//! `/v1/proofs/{id}/tasks`: the open tasks of a proof, and why they wait.

use super::{auth::VisibleProof, problem::Problem, proofs::page_size};
use crate::queue::Service;
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use sp1d_model::{OpenTasks, TaskId};
use utoipa::IntoParams;

/// Selects the open tasks to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenTaskQuery {
    /// Number of a task. Lists only tasks with higher numbers.
    after: Option<u64>,
    /// Maximum number of tasks in `tasks` of the response, 1 to 1000; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Returns the open tasks of a running proof, and why some wait. The lists are empty if the proof is not running,
/// or if it has no open tasks at the moment.
#[utoipa::path(
    get,
    operation_id = "list_open_tasks",
    path = "/v1/proofs/{id}/tasks",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof."), OpenTaskQuery),
    responses(
        (status = 200, description = "The reasons and the open tasks.", body = OpenTasks),
        (status = 400, description = "The path or a query parameter is invalid.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn open_tasks(
    State(service): State<Service>,
    VisibleProof(id): VisibleProof,
    query: Result<Query<OpenTaskQuery>, QueryRejection>,
) -> Result<Json<OpenTasks>, Problem> {
    let Query(OpenTaskQuery { after, limit }) = query.map_err(|error| Problem::malformed(&error.body_text()))?;
    let limit = page_size(limit)?;
    Ok(Json(service.open_tasks(&id, TaskId(after.unwrap_or(0)), limit).await?))
}
