//! The table of attacks.

use super::{
    connections::{health_flood, hosted_flood, http_flood, join_flood, join_tls_flood, worker_flood, worker_tls_flood},
    members, requesters,
    target::AttackTarget,
};
use anyhow::Result;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use std::time::Duration;
use tokio::time::sleep;

/// Pause after an attack was refused. An attacker that does not pause only loads its own machine more.
const PAUSE: Duration = Duration::from_millis(10);

/// Who attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// A worker that has joined.
    Member,
    /// A client of the HTTP interface, or of the interface for sp1-sdk.
    Requester,
    /// A peer that only opens connections, many in a second.
    Connections,
}

impl Party {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Requester => "requester",
            Self::Connections => "connections",
        }
    }
}

/// An attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) party: Party,
    /// What the attacker does, in one sentence.
    pub(crate) about: &'static str,
    /// Number of copies that run at the same time.
    copies: usize,
    /// Number of addresses from which the attacker connects.
    pub(crate) addresses: u8,
    /// Whether the service and the workers connect with TLS.
    pub(crate) is_secure: bool,
    act: fn(AttackTarget) -> BoxFuture<'static, Result<()>>,
}

impl Attack {
    const fn member(
        name: &'static str,
        act: fn(AttackTarget) -> BoxFuture<'static, Result<()>>,
        about: &'static str,
    ) -> Self {
        Self { name, party: Party::Member, about, copies: 1, addresses: 1, is_secure: false, act }
    }

    const fn requester(
        name: &'static str,
        copies: usize,
        act: fn(AttackTarget) -> BoxFuture<'static, Result<()>>,
        about: &'static str,
    ) -> Self {
        Self { name, party: Party::Requester, about, copies, addresses: 1, is_secure: false, act }
    }

    const fn flood(
        name: &'static str,
        act: fn(AttackTarget) -> BoxFuture<'static, Result<()>>,
        about: &'static str,
    ) -> Self {
        Self { name, party: Party::Connections, about, copies: 1, addresses: 4, is_secure: false, act }
    }

    const fn tls_flood(
        name: &'static str,
        act: fn(AttackTarget) -> BoxFuture<'static, Result<()>>,
        about: &'static str,
    ) -> Self {
        Self { name, party: Party::Connections, about, copies: 1, addresses: 4, is_secure: true, act }
    }

    /// Attacks until it is dropped.
    pub(crate) async fn run(&'static self, target: AttackTarget) {
        join_all((0..self.copies).map(|_| self.repeat(target.clone()))).await;
    }

    async fn repeat(&self, target: AttackTarget) {
        loop {
            if let Err(error) = (self.act)(target.clone()).await {
                target.counts.refuse(&format!("{error:#}"));
            }
            sleep(PAUSE).await;
        }
    }
}

/// All attacks, in the order in which they are measured.
pub(crate) const ATTACKS: &[Attack] = &[
    Attack::member(
        "silent-session",
        |target| members::silent_session(target).boxed(),
        "takes tasks and then sends nothing more, not even heartbeats",
    ),
    Attack::member(
        "held-tasks",
        |target| members::held_tasks(target).boxed(),
        "takes tasks, sends heartbeats, and never finishes a task",
    ),
    Attack::member(
        "nonsense-messages",
        |target| members::nonsense_messages(target).boxed(),
        "reports starts, results and failures of attempts that it does not have",
    ),
    Attack::member(
        "log-flood",
        |target| members::log_flood(target).boxed(),
        "fails every task with a long text of control characters, and changes its readiness all the time",
    ),
    Attack::member(
        "undeclared-artifacts",
        |target| members::undeclared_artifacts(target).boxed(),
        "uploads artifacts under names of other tasks",
    ),
    Attack::member(
        "oversize-artifacts",
        |target| members::oversize_artifacts(target).boxed(),
        "uploads gigabytes of zeros, which take kilobytes on the wire",
    ),
    Attack::member(
        "one-byte-chunks",
        |target| members::one_byte_chunks(target).boxed(),
        "uploads an artifact in chunks of one byte",
    ),
    Attack::member(
        "many-streams",
        |target| members::many_streams(target).boxed(),
        "opens 200 uploads at the same time and sends only their headers",
    ),
    Attack::member(
        "endless-deliveries",
        |target| members::endless_deliveries(target).boxed(),
        "fills every upload that it may have, and never ends one",
    ),
    Attack::member(
        "foreign-inputs",
        |target| members::foreign_inputs(target).boxed(),
        "reads records, results and inputs of other tasks and proofs",
    ),
    Attack::member(
        "unread-artifacts",
        |target| members::unread_artifacts(target).boxed(),
        "asks for the inputs of its task again and again, and does not read them",
    ),
    Attack::member(
        "flapping",
        |target| members::flapping(target).boxed(),
        "joins, takes a task and leaves, as often as it can",
    ),
    Attack::member(
        "many-names",
        |target| members::many_names(target).boxed(),
        "does the same under a new name each time",
    ),
    Attack::member(
        "lying-results",
        |target| members::lying_results(target).boxed(),
        "delivers garbage as results, and claims events that are not its own",
    ),
    Attack::member(
        "slow-checks",
        |target| members::slow_checks(target).boxed(),
        "delivers wrong results whose check takes seconds",
    ),
    Attack::requester(
        "form-without-boundary",
        4,
        |target| requesters::form_without_boundary(target).boxed(),
        "sends a form of zeros without any boundary",
    ),
    Attack::requester(
        "form-without-head-end",
        4,
        |target| requesters::form_without_head_end(target).boxed(),
        "sends a form whose first part has an endless head",
    ),
    Attack::requester(
        "endless-zeros",
        4,
        |target| requesters::endless_zeros(target).boxed(),
        "uploads an input of zeros that never ends, as `curl -T- /v1/inputs </dev/zero`",
    ),
    Attack::requester(
        "slow-uploads",
        32,
        |target| requesters::slow_uploads(target).boxed(),
        "holds every upload place that it may have, with a byte from time to time",
    ),
    Attack::requester(
        "large-inputs",
        4,
        |target| requesters::large_inputs(target).boxed(),
        "uploads inputs of the largest size, and requests proofs of some of them",
    ),
    Attack::requester(
        "wrong-programs",
        4,
        |target| requesters::wrong_programs(target).boxed(),
        "uploads files of megabytes that are not programs",
    ),
    Attack::requester(
        "many-followers",
        100,
        |target| requesters::many_followers(target).boxed(),
        "follows the events of all proofs on 100 connections",
    ),
    Attack::requester(
        "cheap-reads",
        8,
        |target| requesters::cheap_reads(target).boxed(),
        "reads lists, events, metrics and the status page as fast as it can",
    ),
    Attack::requester(
        "unread-responses",
        32,
        |target| requesters::unread_responses(target).boxed(),
        "sends requests and reads no response",
    ),
    Attack::requester(
        "half-requests",
        128,
        |target| requesters::half_requests(target).boxed(),
        "opens connections and sends only half of a request's head",
    ),
    Attack::requester(
        "control-characters",
        2,
        |target| requesters::control_characters(target).boxed(),
        "puts escape characters into paths, headers and requests",
    ),
    Attack::requester(
        "hosted-bad-signatures",
        8,
        |target| requesters::hosted_bad_signatures(target).boxed(),
        "sends long requests for sp1-sdk that strangers have signed, or that have no valid signature",
    ),
    Attack::requester(
        "hosted-uploads",
        32,
        |target| requesters::hosted_uploads(target).boxed(),
        "sends inputs for sp1-sdk that are slow, that are not compressed, or that are gigabytes of zeros",
    ),
    Attack::flood(
        "worker-flood",
        |target| worker_flood(target).boxed(),
        "opens 1,000 connections in a second at the port of a worker",
    ),
    Attack::flood(
        "join-flood",
        |target| join_flood(target).boxed(),
        "opens 1,000 connections in a second at the port for joining workers",
    ),
    Attack::flood(
        "http-flood",
        |target| http_flood(target).boxed(),
        "opens 1,000 connections in a second at the HTTP port",
    ),
    Attack::flood(
        "hosted-flood",
        |target| hosted_flood(target).boxed(),
        "opens 1,000 connections in a second at the port for sp1-sdk",
    ),
    Attack::flood(
        "health-flood",
        |target| health_flood(target).boxed(),
        "opens 1,000 connections in a second at the port for health probes of a worker",
    ),
    Attack::tls_flood(
        "worker-tls-flood",
        |target| worker_tls_flood(target).boxed(),
        "opens 1,000 connections in a second at the port of a worker with TLS, and starts 500 handshakes",
    ),
    Attack::tls_flood(
        "join-tls-flood",
        |target| join_tls_flood(target).boxed(),
        "opens 1,000 connections in a second at the port for joining workers with TLS, and starts 500 handshakes",
    ),
];
