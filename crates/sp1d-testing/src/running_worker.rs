//! Workers that run in the process of a test.

use crate::{engine::ready, free_address::free_address};
use sp1d_identity::TlsIdentity;
use sp1d_protocol::{Build, wire::Machine};
use sp1d_worker::{
    Capabilities, EngineState, GpuMonitor, Introduction, ListeningWorker, MemoryPlan, ProvingEngine, WorkerSettings,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// A worker that runs in this process. It stops when dropped.
pub struct RunningWorker {
    /// The address on which the worker listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: BackgroundTasks,
}

impl RunningWorker {
    /// Starts a worker called `name` on a free port of the loopback interface. Its build is [`fake_build`]. `change`
    /// may change the settings.
    pub async fn start(
        name: &str,
        engine: watch::Receiver<EngineState>,
        change: impl FnOnce(&mut WorkerSettings),
    ) -> Self {
        Self::start_with(name, engine, None, change).await
    }

    /// Starts a worker whose engine is ready, and that serves only orchestrators with a certificate.
    pub async fn secure(name: &str, engine: Arc<dyn ProvingEngine>, tls: Arc<TlsIdentity>) -> Self {
        Self::start_with(name, ready(engine), Some(tls), |_| {}).await
    }

    async fn start_with(
        name: &str,
        engine: watch::Receiver<EngineState>,
        tls: Option<Arc<TlsIdentity>>,
        change: impl FnOnce(&mut WorkerSettings),
    ) -> Self {
        let mut settings = WorkerSettings {
            listen: free_address().into(),
            orchestrators: "127.0.0.1,::1".parse().expect("the filter is valid"),
            introduction: introduction(name),
        };
        change(&mut settings);
        let worker = ListeningWorker::bind(settings).await.expect("the port is reserved for this worker").secure(tls);
        let address = worker.local_addr().expect("a listener has an address");
        let (stop, tasks) = (CancellationToken::new(), BackgroundTasks::new());
        let token = stop.clone();
        tasks.spawn(async move { worker.serve(engine, token).await });
        Self { address, stop, tasks }
    }

    /// Starts a worker whose engine is ready.
    pub async fn ready(name: &str, engine: Arc<dyn ProvingEngine>) -> Self {
        Self::start(name, ready(engine), |_| {}).await
    }

    /// Stops the worker and waits until all of its tokio tasks have ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Returns a build that is compatible only with itself.
#[must_use]
pub fn fake_build() -> Build {
    Build {
        sp1_version: "6.10.0".to_owned(),
        circuit_version: "fake".to_owned(),
        recursion_root: vec![7; 32],
        features: Vec::new(),
        release: "0.0.0".to_owned(),
    }
}

/// Returns the introduction of a worker called `name` that supports every task kind.
#[must_use]
pub fn introduction(name: &str) -> Introduction {
    introduction_with(name, 0)
}

/// Same as [`introduction`], with `memory_bytes` of memory. 0 means that the memory is unknown.
#[must_use]
pub fn introduction_with(name: &str, memory_bytes: u64) -> Introduction {
    Introduction {
        name: name.to_owned(),
        build: fake_build(),
        machine: Machine { memory_bytes, ..Machine::default() },
        capabilities: Capabilities::all(),
        plan: MemoryPlan::default(),
        gpus: GpuMonitor::default(),
    }
}
