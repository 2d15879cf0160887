//! A service process with a fake runner, for tests that kill the process or measure its memory. When the service
//! listens, it prints the line `serving URL`.
//!
//! The environment variables `KEEP_SECONDS`, `RESULT_CACHE_BYTES` and `FREE_BYTES` set the fields `keep`,
//! `result_cache_bytes` and `free_bytes` of [`ServiceSettings`].

#![expect(clippy::print_stdout, reason = "the tests read the printed line")]

use sp1d_service::{Service, ServiceSettings, serve};
use sp1d_testing::{FakeRunner, fake_build};
use std::{env, error::Error, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Arguments: the state folder, then the addresses of workers.
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let state = arguments.next().ok_or("usage: fake_serve STATE_FOLDER [WORKER]...")?;
    let workers = arguments.map(|worker| worker.parse::<SocketAddr>().map(Into::into));
    let list = sp1d_orchestrator::WorkerList(workers.collect::<Result<_, _>>()?);
    let mut settings =
        ServiceSettings::new(state.into(), sp1d_orchestrator::OrchestratorSettings::new(fake_build()), "{}".into());
    if let Ok(seconds) = env::var("KEEP_SECONDS") {
        settings.keep = Duration::from_secs(seconds.parse()?);
    }
    if let Ok(bytes) = env::var("RESULT_CACHE_BYTES") {
        settings.result_cache_bytes = bytes.parse()?;
    }
    if let Ok(bytes) = env::var("FREE_BYTES") {
        settings.free_bytes = bytes.parse()?;
    }
    let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await?;
    service.orchestrator().set_list(&list);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("serving http://{}", listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        served = serve(service.clone(), listener) => served?,
        _ = terminated.recv() => {}
        part = service.died() => return Err(part.into()),
    }
    service.shutdown().await;
    Ok(())
}
