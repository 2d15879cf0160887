//! A worker that dials its orchestrator, for machines that come and go or that the orchestrator cannot reach.

use crate::{
    engine::EngineState,
    home::Home,
    introduction::Introduction,
    server::{CACHE_BYTES, Error, failure},
    session::{self, Context},
    text::one_line,
};
use protocol::{Address, Backoff, Role, dial};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Maximum time to resolve the orchestrator's name and open a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A worker that dials one orchestrator, and dials again whenever a connection ends.
pub struct JoiningWorker {
    orchestrator: Address,
    introduction: Introduction,
}

impl JoiningWorker {
    /// Creates a worker for the orchestrator at the given address. Does not connect yet.
    #[must_use]
    pub fn new(orchestrator: Address, introduction: Introduction) -> Self {
        Self { orchestrator, introduction }
    }

    /// Dials the orchestrator and serves it until `stop` is cancelled. Runs tasks once `engine` is ready.
    ///
    /// The worker dials again after every failure and every lost connection. So an orchestrator that starts late or
    /// restarts gets its workers back.
    ///
    /// # Errors
    /// Fails if the engine can never be ready.
    pub async fn serve(self, mut engine: watch::Receiver<EngineState>, stop: CancellationToken) -> Result<(), Error> {
        let stop = stop.child_token();
        let home = Home::new(CACHE_BYTES, self.introduction.plan);
        let introduction = Arc::new(self.introduction);
        let mut backoff = Backoff::default();
        let mut told = String::new();
        let for_sessions = engine.clone();
        let failed = failure(&mut engine);
        let mut failed = std::pin::pin!(failed);
        let outcome = loop {
            let began = Instant::now();
            let context = Context {
                introduction: introduction.clone(),
                engine: for_sessions.clone(),
                home: home.clone(),
                stop: stop.clone(),
            };
            let span = tracing::info_span!("session", peer = %self.orchestrator);
            let call = call(&self.orchestrator, context).instrument(span);
            tokio::select! {
                why = &mut failed => break Err(Error::Engine(why)),
                end = call => match end {
                    Ok(end) => {
                        tracing::info!(orchestrator = %self.orchestrator, %end, "session ended");
                        told.clear();
                    }
                    Err(_) if stop.is_cancelled() => {}
                    // Warn only once about the same reason.
                    Err(reason) if reason == told => tracing::debug!(%reason, "cannot join the orchestrator"),
                    Err(reason) => {
                        tracing::warn!(orchestrator = %self.orchestrator, %reason, "cannot join the orchestrator; retrying until it succeeds");
                        told = reason;
                    }
                },
            }
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                why = &mut failed => break Err(Error::Engine(why)),
                () = sleep(backoff.pause(began.elapsed())) => {}
            }
        };
        stop.cancel();
        home.end().await;
        outcome
    }
}

/// Opens one connection and runs a session on it until the session ends. Fails with the reason if no session could
/// start.
async fn call(orchestrator: &Address, context: Context) -> Result<session::End, String> {
    // Only connecting must watch `stop` here. A session watches it too, and says goodbye.
    let stream = tokio::select! {
        () = context.stop.cancelled() => return Err("the worker is stopping".to_owned()),
        connected = connect(orchestrator) => connected?,
    };
    Ok(session::run(stream, context).await)
}

/// Opens a connection and exchanges the preamble with the orchestrator. Fails with the reason.
async fn connect(orchestrator: &Address) -> Result<TcpStream, String> {
    let open = async {
        let found = orchestrator.resolve().await.map_err(|error| format!("cannot resolve the host name: {error}"))?;
        TcpStream::connect(found.as_slice()).await.map_err(|error| error.to_string())
    };
    let opened = timeout(CONNECT_TIMEOUT, open).await;
    let mut stream = opened.unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))?;
    stream.set_nodelay(true).map_err(|error| format!("cannot set TCP_NODELAY: {error}"))?;
    dial(&mut stream, Role::Worker).await.map_err(|error| one_line(&error.to_string()))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::engine_state,
        introduction::{Abilities, MemoryPlan},
    };
    use protocol::wire;
    use tokio::{io::AsyncReadExt, net::TcpListener};

    #[tokio::test]
    async fn the_stop_ends_the_dial_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let orchestrator = Address::from(listener.local_addr().unwrap());
        let introduction = Introduction {
            name: "one".to_owned(),
            build: wire::Build::default().into(),
            machine: wire::Machine::default(),
            abilities: Abilities::all(),
            plan: MemoryPlan::default(),
        };
        let (_sender, engine) = engine_state(Duration::ZERO);
        let (home, stop) = (Home::new(1, MemoryPlan::default()), CancellationToken::new());
        let context = Context { introduction: Arc::new(introduction), engine, home, stop: stop.clone() };
        let silent = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The first bytes of the preamble: the worker now waits for the reply.
            stream.read_u32().await.unwrap();
            stop.cancel();
            stream
        };
        let (ended, _stream) = tokio::join!(call(&orchestrator, context), silent);
        assert_eq!(ended.unwrap_err(), "the worker is stopping");
    }
}
