//! `/healthz`, `/readyz` and `/metrics`.

use super::problem::Problem;
use crate::{
    access::{Caller, TenantScope},
    queue::Service,
};
use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sp1d_model::Health;
use std::collections::BTreeMap;

/// Returns the health as `caller` may see it. A client without a token sees no number of proofs and no warnings, which
/// can name files.
async fn health(service: &Service, caller: Option<&Caller>) -> Result<Health, Problem> {
    let dead = service.dead_background_tasks();
    if !dead.is_empty() {
        let text =
            format!("{} ended unexpectedly\nhint: restart the service; it continues all proofs", dead.join(", "));
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "dead_part", &text));
    }
    let workers = service.workers();
    // Also for clients without a token: the service is not healthy if it cannot read its database.
    let all = service.counts().await?;
    let (proofs, warnings) = match caller.map(Caller::scope) {
        None => (BTreeMap::new(), Vec::new()),
        Some(TenantScope::All) => (all, service.warnings()),
        Some(scope) => (service.counts_in(scope).await?, service.warnings()),
    };
    Ok(Health {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        proofs: proofs.into_iter().map(|(state, count)| (state.to_owned(), count)).collect(),
        parallel_proofs: service.settings().parallel_proofs,
        max_queue: service.settings().max_queue,
        workers: workers.len(),
        ready_workers: workers.iter().filter(|worker| worker.has_loaded_prover).count(),
        warnings,
        archive_age_seconds: service.archive_age().map(|age| age.as_secs()),
    })
}

/// Returns the metrics of the service in the OpenMetrics text format, for Prometheus.
#[utoipa::path(
    get,
    operation_id = "get_metrics",
    path = "/metrics",
    tag = "service",
    responses((status = 200, description = "The metrics.", body = String, content_type = "application/openmetrics-text"))
)]
pub(crate) async fn metrics(State(service): State<Service>) -> Result<Response, Problem> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], service.metrics_text().await?).into_response())
}

/// Returns the health of the service. Succeeds if all parts of the service are running and it can read its database.
#[utoipa::path(
    get,
    operation_id = "get_health",
    path = "/healthz",
    tag = "service",
    responses(
        (status = 200, description = "The health.", body = Health),
        (status = 500, description = "The service cannot read its database.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "A part of the service ended unexpectedly, or another program has locked the database.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn healthy(
    State(service): State<Service>,
    caller: Option<Extension<Caller>>,
) -> Result<Json<Health>, Problem> {
    Ok(Json(health(&service, caller.as_deref()).await?))
}

/// Returns the health of the service. Succeeds only if at least one worker is ready to prove.
#[utoipa::path(
    get,
    operation_id = "get_readiness",
    path = "/readyz",
    tag = "service",
    responses(
        (status = 200, description = "The health.", body = Health),
        (status = 503, description = "No worker is ready, or the service is not healthy.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn ready(
    State(service): State<Service>,
    caller: Option<Extension<Caller>>,
) -> Result<Json<Health>, Problem> {
    let health = health(&service, caller.as_deref()).await?;
    if health.ready_workers == 0 {
        let connected = health.workers;
        let text = format!("no worker is ready to prove: {connected} connected\nhint: see why with `sp1d workers`");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_workers", &text));
    }
    Ok(Json(health))
}
