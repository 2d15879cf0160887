//! The list of workers as its file has it, from moment to moment.

use crate::Service;
use client::ListStatus;
use orchestrator::WorkerFile;
use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::interval};

/// How often it is looked whether the file has changed.
const LOOKS: Duration = Duration::from_secs(2);

/// Calls the workers that the file at `path` names: those that it names now, and from then on whenever it has changed
/// or `again` is notified. A file that cannot be read changes nothing. Ends with the service.
pub async fn follow_list(service: Service, path: PathBuf, again: &Notify) {
    let mut looks = interval(LOOKS);
    let mut seen: Option<(SystemTime, u64)> = None;
    loop {
        let forced = tokio::select! {
            () = service.stopping().cancelled() => return,
            () = again.notified() => true,
            _ = looks.tick() => false,
        };
        let described =
            tokio::fs::metadata(&path).await.ok().and_then(|file| Some((file.modified().ok()?, file.len())));
        // A file that is missing is told once.
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
                            Ok(Ok(name)) => tracing::info!(%name, %worker, "worker reached"),
                            Ok(Err(reason)) => {
                                tracing::warn!(%worker, %reason, "a worker cannot be reached; trying again for as long as it takes")
                            }
                            Err(_) => {}
                        }
                    });
                }
            }
            Err(error) => {
                let workers = service.list_status().workers;
                tracing::warn!(%error, "the list of workers was not read; what it said before counts");
                service.set_list_status(ListStatus { workers, error: Some(error.to_string()) });
            }
        }
    }
}
