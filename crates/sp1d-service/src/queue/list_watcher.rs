//! The list watcher: applies changes of the worker list file while the service runs.

use super::{file_watcher::FileWatcher, service::Service};
use sp1d_model::{ListStatus, hint};
use sp1d_orchestrator::{ListError, Reached, WorkerFile};
use std::{io::ErrorKind, path::PathBuf};
use tokio::sync::Notify;

/// Connects to the workers in the file at `path`. Reads the file at once, after each change, and whenever `again` is
/// notified; changes take effect within 4 s. While the file cannot be read, its last valid content stays in effect, and
/// [`Service::list_status`] reports the error. If the list `is_optional`, it need not exist before it has a worker.
/// Returns when the service shuts down.
pub async fn follow_list(service: Service, path: PathBuf, is_optional: bool, again: &Notify) {
    let _task = service.watch_background_task("the watcher of the worker list");
    // The workers should not wait until the file has settled.
    again.notify_one();
    let mut watcher = FileWatcher::new(&path, again);
    while watcher.must_read(service.stopping()).await {
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
            Err(error) if is_optional && is_missing(&error) && service.list_status().workers == 0 => {
                service.set_list_status(ListStatus::default());
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

/// Returns true if the file does not exist.
fn is_missing(error: &ListError) -> bool {
    matches!(error, ListError::Read { reason, .. } if reason.kind() == ErrorKind::NotFound)
}
