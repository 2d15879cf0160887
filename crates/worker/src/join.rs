//! A worker that calls its orchestrator, for machines that come and go or cannot be reached.

use crate::{
    engine::EngineState,
    home::Home,
    introduction::Introduction,
    server::{CACHE_BYTES, Error, failure},
    session::{self, Context},
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

/// Longest wait for a TCP connection, its name's resolution included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A worker that joins the orchestrator at an address, again and again.
pub struct JoiningWorker {
    orchestrator: Address,
    introduction: Introduction,
}

impl JoiningWorker {
    /// A worker that has not called yet.
    #[must_use]
    pub fn new(orchestrator: Address, introduction: Introduction) -> Self {
        Self { orchestrator, introduction }
    }

    /// Calls until `stop`, and gives results once `engine` is ready. Whatever happens to the connection, it calls
    /// again: an orchestrator that is not there yet, or restarts, finds its workers back.
    ///
    /// # Errors
    /// When the engine fails to start.
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
                    // The same again is no news.
                    Err(reason) if reason == told => tracing::debug!(%reason, "call the orchestrator"),
                    Err(reason) => {
                        tracing::warn!(orchestrator = %self.orchestrator, %reason, "the orchestrator cannot be joined; trying again for as long as it takes");
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

/// One connection, from its beginning to its end.
async fn call(orchestrator: &Address, context: Context) -> Result<session::End, String> {
    let connect = async {
        let found = orchestrator.resolve().await.map_err(|error| format!("the name cannot be resolved: {error}"))?;
        TcpStream::connect(found.as_slice()).await.map_err(|error| error.to_string())
    };
    // A session says goodbye by itself.
    let connected = tokio::select! {
        () = context.stop.cancelled() => return Err("the worker is stopping".to_owned()),
        connected = timeout(CONNECT_TIMEOUT, connect) => connected,
    };
    let mut stream = connected.unwrap_or_else(|_| Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())))?;
    stream.set_nodelay(true).map_err(|error| format!("cannot set TCP_NODELAY: {error}"))?;
    dial(&mut stream, Role::Worker).await.map_err(|error| error.to_string())?;
    Ok(session::run(stream, context).await)
}
