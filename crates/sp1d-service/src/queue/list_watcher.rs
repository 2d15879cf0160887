//! The list watcher: applies changes of the worker list file while the service runs.

use super::service::Service;
use sp1d_model::{ListStatus, hint};
use sp1d_orchestrator::{Reached, WorkerFile};
use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::interval};

/// Interval at which the watcher checks the size and modification time of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Connects to the workers in the file at `path`. Reads the file at once, after each change, and whenever `again` is
/// notified; changes are noticed within 2 s. While the file cannot be read, its last valid content stays in effect, and
/// [`Service::list_status`] reports the error. Returns when the service shuts down.
pub async fn follow_list(service: Service, path: PathBuf, again: &Notify) {
    let mut checks = interval(CHECK_INTERVAL);
    let _part = service.watch_part("the watcher of the worker list");
    let mut seen: Option<(SystemTime, u64)> = None;
    loop {
        let forced = tokio::select! {
            () = service.stopping().cancelled() => return,
            () = again.notified() => true,
            _ = checks.tick() => false,
        };
        let described =
            tokio::fs::metadata(&path).await.ok().and_then(|file| Some((file.modified().ok()?, file.len())));
        // A missing file has fixed values too, so that it is reported only once.
        let described = described.unwrap_or((SystemTime::UNIX_EPOCH, 0));
        if !forced && seen == Some(described) {
            continue;
        }
        seen = Some(described);
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || WorkerFile::read(&file)).await;
        match read.expect("reading a list does not panic") {
            Ok(file) => {
                service.set_list_status(ListStatus { workers: file.list.0.len(), error: None });
                for (worker, outcome) in service.orchestrator().set_list(&file.list) {
                    service.spawn(async move {
                        match outcome.await {
                            Ok(Ok(Reached::Connected(name))) => tracing::info!(%name, %worker, "worker reached"),
                            Ok(Ok(Reached::Busy(holder))) => {
                                tracing::info!(%worker, %holder, "worker reached, which serves another orchestrator");
                            }
                            Ok(Err(error)) => {
                                let reason = hint::one_line(&error.to_string());
                                tracing::warn!(%worker, %reason, "cannot connect to a worker; retrying until it succeeds");
                            }
                            Err(_) => {}
                        }
                    });
                }
            }
            Err(error) => {
                let (workers, text) = (service.list_status().workers, error.to_string());
                let error = hint::without(&text);
                tracing::warn!(%error, "cannot read the worker list; the last valid list stays in effect");
                service.set_list_status(ListStatus { workers, error: Some(text) });
            }
        }
    }
}
