//! A service process with a fake controller, for tests that kill the process or measure its memory. When the service
//! listens, it prints the line `serving URL`.
//!
//! The environment variables `KEEP_SECONDS`, `MEMO_BYTES` and `FREE_BYTES` set `Settings::keep`, `Settings::memo_bytes`
//! and `Settings::free_bytes`.

#![expect(clippy::print_stdout, reason = "the tests read the printed line")]

use sp1_distributed_service::{Service, Settings, serve};
use std::{env, error::Error, net::SocketAddr, sync::Arc, time::Duration};
use testing::{FakeController, fake_build};
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
    let list = orchestrator::WorkerList(workers.collect::<Result<_, _>>()?);
    let mut settings = Settings::new(state.into(), orchestrator::Settings::new(fake_build()), "{}".into());
    if let Ok(seconds) = env::var("KEEP_SECONDS") {
        settings.keep = Duration::from_secs(seconds.parse()?);
    }
    if let Ok(bytes) = env::var("MEMO_BYTES") {
        settings.memo_bytes = bytes.parse()?;
    }
    if let Ok(bytes) = env::var("FREE_BYTES") {
        settings.free_bytes = bytes.parse()?;
    }
    let service = Service::start(settings, Arc::new(FakeController::default()), None).await?;
    service.orchestrator().set_list(&list);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("serving http://{}", listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        served = serve(service.clone(), listener) => served?,
        _ = terminated.recv() => {}
    }
    service.shutdown().await;
    Ok(())
}
