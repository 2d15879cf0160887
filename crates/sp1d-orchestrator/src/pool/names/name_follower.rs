//! Follows a name of the worker list: looks it up again and again, and connects to the workers that it stands for.

use super::named_workers::{NameCommand, NamedWorkers};
use crate::{
    lock::lock,
    pool::{
        connection::{dialer::RESOLVE_TIMEOUT, listed_worker::keep_connected},
        first_outcome::{FirstOutcomeSender, report},
    },
    session::lifetime::SessionStop,
    state::shared_state::SharedState,
    workers::{contacts::Contact, reach_error::ReachError, worker_address::WorkerAddress},
};
use sp1d_protocol::Address;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// How long the first lookup may take until the workers of the name count as unreachable for now.
const FIRST_LOOKUP_PATIENCE: Duration = Duration::from_secs(2);

/// A name of the worker list, and the connections to its workers.
pub(crate) struct NameFollower {
    pub(crate) name: Address,
    pub(crate) shared: Arc<SharedState>,
    /// Receives the outcome of the first connection.
    pub(crate) first: FirstOutcomeSender,
    /// Runs the connections. Its owner waits for their end.
    pub(crate) background: BackgroundTasks,
    pub(crate) stop: CancellationToken,
    /// The connections to the present workers, and those that are ending.
    pub(crate) connections: BTreeMap<WorkerAddress, NamedConnection>,
    /// Where others find the connections, to end them.
    pub(crate) named: NamedConnectionStops,
}

/// The tokens that end the connections to the workers of all names. Clones refer to the same tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamedConnectionStops(Arc<Mutex<BTreeMap<WorkerAddress, CancellationToken>>>);

impl NamedConnectionStops {
    fn add(&self, worker_address: WorkerAddress, end: CancellationToken) {
        lock(&self.0).insert(worker_address, end);
    }

    /// Removes the token of `worker_address`, and returns it.
    pub(crate) fn remove(&self, worker_address: &WorkerAddress) -> Option<CancellationToken> {
        lock(&self.0).remove(worker_address)
    }

    /// Removes the tokens of connections that have ended.
    fn remove_ended(&self) {
        lock(&self.0).retain(|_, end| !end.is_cancelled());
    }
}

/// The task that keeps one worker connected.
pub(crate) struct NamedConnection {
    /// Ends the connection when the worker holds no attempt.
    when_idle: CancellationToken,
    task: JoinHandle<()>,
}

impl NameFollower {
    /// Connects to the workers of the name until `stop` is cancelled.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let mut workers = NamedWorkers::default();
        loop {
            let reply = tokio::select! {
                () = stop.cancelled() => return,
                reply = self.look_up() => reply,
            };
            for command in workers.on_reply(reply.as_deref()) {
                self.carry_out(command);
            }
            self.connections.retain(|_, connection| !connection.task.is_finished());
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(self.shared.settings.resolver.interval()) => {}
            }
        }
    }

    /// Looks the name up. Returns `None` if that fails.
    async fn look_up(&mut self) -> Option<Vec<SocketAddr>> {
        let (shared, name) = (self.shared.clone(), self.name.clone());
        let mut lookup = pin!(timeout(RESOLVE_TIMEOUT, shared.settings.resolver.resolve(&name)));
        let reply = tokio::select! {
            reply = &mut lookup => reply,
            () = sleep(FIRST_LOOKUP_PATIENCE), if self.first.is_some() => {
                let error = Arc::new(ReachError::ResolveTimeout(FIRST_LOOKUP_PATIENCE));
                let contact = Contact::Unreachable(error.clone());
                self.shared.contacts.send_modify(|contacts| _ = contacts.set(&name.clone().into(), contact));
                report(&mut self.first, Err(error));
                lookup.await
            }
        };
        match reply {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                tracing::debug!(%name, %error, "cannot look up a name of the worker list");
                None
            }
            Err(_) => {
                tracing::debug!(%name, seconds = RESOLVE_TIMEOUT.as_secs(), "the name server does not respond");
                None
            }
        }
    }

    fn carry_out(&mut self, command: NameCommand) {
        let itself = WorkerAddress::Listed(self.name.clone());
        match command {
            NameCommand::DialName => self.dial(itself),
            NameCommand::RetireName => {
                if !self.retire(&itself) {
                    remove_contact(&self.shared, &itself, &self.stop);
                }
            }
            NameCommand::Dial(address) => {
                tracing::info!(name = %self.name, %address, "the name has another worker");
                self.dial(WorkerAddress::OfName(address, self.name.clone()));
            }
            NameCommand::Retire(address) => {
                tracing::info!(name = %self.name, %address, "the name no longer has this worker");
                self.retire(&WorkerAddress::OfName(address, self.name.clone()));
            }
        }
    }

    /// Connects to `worker_address`, after an earlier connection to it has ended.
    fn dial(&mut self, worker_address: WorkerAddress) {
        let (shared, first) = (self.shared.clone(), self.first.take());
        let stop = SessionStop { at_once: self.stop.child_token(), when_idle: CancellationToken::new() };
        let (at_once, when_idle) = (stop.at_once.clone(), stop.when_idle.clone());
        let earlier = self.connections.remove(&worker_address).map(|connection| connection.task);
        add_contact(&shared, &worker_address, &at_once);
        let named = self.named.clone();
        let task = self.background.spawn({
            let worker_address = worker_address.clone();
            async move {
                if let Some(earlier) = earlier {
                    // A panic of that task is in the log.
                    let _ = earlier.await;
                    add_contact(&shared, &worker_address, &at_once);
                }
                if let WorkerAddress::OfName(..) = &worker_address {
                    named.add(worker_address.clone(), at_once.clone());
                }
                keep_connected(worker_address.clone(), shared.clone(), first, stop).await;
                remove_contact(&shared, &worker_address, &at_once);
                at_once.cancel();
                named.remove_ended();
            }
        });
        self.connections.insert(worker_address, NamedConnection { when_idle, task });
    }

    /// Lets the connection to `worker_address` end. Returns false if no such connection exists.
    fn retire(&self, worker_address: &WorkerAddress) -> bool {
        let connection = self.connections.get(worker_address);
        if let Some(connection) = connection {
            connection.when_idle.cancel();
        }
        connection.is_some()
    }
}

/// Adds `worker_address` to the contacts. Does nothing if `stop` is cancelled.
fn add_contact(shared: &SharedState, worker_address: &WorkerAddress, stop: &CancellationToken) {
    shared.contacts.send_if_modified(|contacts| {
        let is_wanted = !stop.is_cancelled();
        if is_wanted {
            contacts.add(worker_address.clone());
        }
        is_wanted
    });
}

/// Removes `worker_address` from the contacts and from the disconnected workers. Does nothing if `stop` is cancelled:
/// the code that cancelled it has removed the worker, and the list may contain the name again.
fn remove_contact(shared: &SharedState, worker_address: &WorkerAddress, stop: &CancellationToken) {
    shared.contacts.send_if_modified(|contacts| {
        let is_wanted = !stop.is_cancelled();
        if is_wanted {
            contacts.remove(worker_address);
        }
        is_wanted
    });
    let mut disconnected = shared.disconnected();
    if !stop.is_cancelled() {
        disconnected.remove_listed(worker_address);
    }
}
