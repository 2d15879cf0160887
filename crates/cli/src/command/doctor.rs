//! `sp1d doctor`: looks at everything that has to be right, and says what to do about what is not.

use super::{config, program::print};
use crate::{
    args::{DoctorArguments, OutputForm},
    cpu,
    exit::{self, Failure},
};
use anyhow::Result;
use client::{Client, ClientError, Moment};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use engine::{HostError, check_executor_host, check_temporary_folder, smallest_worker_bytes};
use machine::Memory;
use orchestrator::{Member, ProbeError, Probed, probe};
use protocol::Address;
use serde::Serialize;
use serde_json::json;
use sp1_distributed::distributed::config::Config;
use tokio::net::TcpListener;

/// Clocks that differ by more make timelines and deadlines hard to read.
const MOST_SECONDS_APART: i64 = 2;

/// What an orchestrator takes beside its proofs' artifacts: SP1's executor, its trace, and the verifier.
const ORCHESTRATOR_BYTES: u64 = 4_000_000_000;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    what: String,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it; empty when there is nothing to do, or when what was found says it.
    remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// It works, and not as well as it could, or not for everything.
    Odd,
    Wrong,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Odd => "odd",
            Self::Wrong => "wrong",
        }
    }
}

fn finding(what: impl Into<String>, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { what: what.into(), verdict, found: found.into(), remedy: remedy.into() }
}

pub(crate) async fn run(arguments: DoctorArguments) -> Result<()> {
    let mut findings = vec![memory(Memory::now()), processor()];
    findings.extend(cores(std::thread::available_parallelism().map_or(1, usize::from)));
    findings.extend(executor());
    for address in &arguments.listen {
        findings.push(port(address).await);
    }
    // Without a list this machine alone is looked at, unless somebody named one.
    match config::load(&arguments.pool) {
        Ok(config) => findings.extend(workers(&config).await),
        Err(error) if arguments.pool.workers.is_some() => {
            findings.push(finding(
                "list of workers",
                Verdict::Wrong,
                error.to_string(),
                "mend the list or name another",
            ));
        }
        Err(error) => findings.push(finding(
            "list of workers",
            Verdict::Odd,
            error.to_string(),
            "name a list with --workers to have its workers looked at",
        )),
    }
    if let Some(url) = &arguments.url {
        findings.extend(service(url).await);
    }
    show(&findings, arguments.output)?;
    match findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count() {
        0 => Ok(()),
        wrong => Err(Failure::new(exit::HOST, format!("{wrong} of {} are wrong", findings.len())).into()),
    }
}

fn show(findings: &[Finding], output: OutputForm) -> Result<()> {
    if output == OutputForm::Json {
        return print(&json!({ "findings": findings }).to_string());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["", "verdict", "found", "what to do"]);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    for Finding { what, verdict, found, remedy } in findings {
        table.add_row([what.as_str(), verdict.name(), found, remedy]);
    }
    print(&table.to_string())
}

fn memory(memory: Option<Memory>) -> Finding {
    let what = "memory";
    let Some(Memory { available_bytes, total_bytes }) = memory else {
        return finding(what, Verdict::Odd, "the system does not say how much there is", "");
    };
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let found = format!("{} free of {}", gigabytes(available_bytes), gigabytes(total_bytes));
    let worker = smallest_worker_bytes();
    let (verdict, who) = match (available_bytes >= worker, available_bytes >= ORCHESTRATOR_BYTES) {
        (true, true) => return finding(what, Verdict::Good, found, ""),
        (true, false) => (Verdict::Odd, "a worker, and not for an orchestrator"),
        (false, true) => (Verdict::Odd, "an orchestrator, and not for a worker"),
        (false, false) => (Verdict::Wrong, "nothing"),
    };
    let remedy = format!(
        "a worker needs {} for the smallest shards, and an orchestrator {}: stop something else",
        gigabytes(worker),
        gigabytes(ORCHESTRATOR_BYTES)
    );
    finding(what, verdict, format!("{found}: enough for {who}"), remedy)
}

fn processor() -> Finding {
    match cpu::unused_feature() {
        None => finding("processor", Verdict::Good, "this build uses what it has", ""),
        Some(feature) => finding(
            "processor",
            Verdict::Odd,
            format!("it has {feature}, which this build does not use: proving takes up to four times as long"),
            "build with RUSTFLAGS=\"-C target-cpu=native\"",
        ),
    }
}

/// How many cores one prover uses well is known only by measuring.
fn cores(cores: usize) -> Option<Finding> {
    /// With fewer cores there are few settings to choose from.
    const FEW: usize = 8;
    (cores > FEW).then(|| {
        let remedy = "several provers can be faster than one: measure with `sp1d tune`";
        finding("cores", Verdict::Good, cores.to_string(), remedy)
    })
}

/// What executions need of this machine. The errors' own words end with what to do.
fn executor() -> Vec<Finding> {
    let of = |what: &str, outcome: Result<(), HostError>| match outcome {
        Ok(()) => finding(what, Verdict::Good, "as executions need it", ""),
        Err(error) => finding(what, Verdict::Wrong, error.to_string(), ""),
    };
    let folder = check_temporary_folder(&std::env::temp_dir());
    let is_good = folder.is_ok();
    let mut findings = vec![of("temporary folder", folder)];
    // It looks at the folder first.
    if is_good {
        findings.push(of("/dev/shm", check_executor_host()));
    }
    findings
}

async fn port(address: &Address) -> Finding {
    let what = format!("port {address}");
    let bound = async {
        let found = address.resolve().await?;
        TcpListener::bind(found.as_slice()).await
    };
    match bound.await {
        Ok(_) => finding(what, Verdict::Good, "free", ""),
        Err(error) => finding(what, Verdict::Wrong, error.to_string(), "choose another, or stop who has it"),
    }
}

async fn workers(config: &Config) -> Vec<Finding> {
    let look = async |member: &Member| {
        let what = format!("worker {member}");
        if *member == Member::Local {
            return finding(what, Verdict::Good, "the orchestrator's own process", "");
        }
        match probe(member, &config.orchestrator.build).await {
            Ok(Probed { name, threads, memory_bytes, cpu, .. }) => {
                let found = format!("{name}: {threads} threads, {:.0} GB, {cpu}", memory_bytes as f64 / 1e9);
                finding(what, Verdict::Good, found, "")
            }
            Err(ProbeError::Busy(text)) => finding(what, Verdict::Good, format!("in use: {text}"), ""),
            Err(ProbeError::Build(mismatch)) => {
                finding(what, Verdict::Wrong, mismatch.to_string(), "install the same sp1d on both sides")
            }
            Err(ProbeError::Unreachable(reason)) => finding(what, Verdict::Wrong, reason, UNREACHABLE),
        }
    };
    // All at once: those that do not answer take their time.
    futures::future::join_all(config.list.0.iter().map(look)).await
}

const UNREACHABLE: &str = "start `sp1d worker` there, with this machine in its --orchestrator list, and open the port";

/// What a service says, as far as it says anything.
async fn service(url: &str) -> Vec<Finding> {
    let (what, mut findings) = (format!("service {url}"), Vec::new());
    if let Err(error) = ask_service(url, &what, &mut findings).await {
        findings.push(finding(what, Verdict::Wrong, error.to_string(), ""));
    }
    findings
}

async fn ask_service(url: &str, what: &str, findings: &mut Vec<Finding>) -> Result<(), ClientError> {
    let client = Client::new(url)?;
    let health = client.health().await?;
    let own = env!("CARGO_PKG_VERSION");
    findings.push(if health.release == own {
        let found = format!("release {own}, {} of {} workers ready", health.ready_workers, health.workers);
        finding(what, Verdict::Good, found, "")
    } else {
        let found = format!("release {}, and this is {own}", health.release);
        finding(what, Verdict::Odd, found, "use the same release on all sides")
    });
    if let Some(clock) = client.clock().await? {
        findings.push(clocks(Moment::now(), clock));
    }
    for worker in client.workers().await?.workers.into_iter().filter(|worker| worker.state == "lost") {
        let why = super::remote::why(&worker);
        findings.push(finding(format!("worker {}", worker.name), Verdict::Wrong, format!("lost: {why}"), UNREACHABLE));
    }
    Ok(())
}

fn clocks(own: Moment, other: Moment) -> Finding {
    // The other is in whole seconds, rounded down.
    let apart = (own.0 - other.0) / 1000;
    if apart.abs() <= MOST_SECONDS_APART {
        finding("clock", Verdict::Good, "as the service's", "")
    } else {
        let found = format!("{} s {} the service's", apart.abs(), if apart > 0 { "before" } else { "behind" });
        finding("clock", Verdict::Odd, found, "have both follow the same time server (systemd-timesyncd, chrony)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &Finding, verdict: Verdict, part: &str) {
        assert_eq!(found.verdict, verdict, "{found:?}");
        assert!(found.found.contains(part), "{found:?}");
        assert_eq!(found.remedy.is_empty(), verdict == Verdict::Good, "{found:?}");
    }

    #[test]
    fn memory_is_enough_for_both_or_for_an_orchestrator_or_for_nothing() {
        let of = |available_bytes| memory(Some(Memory { available_bytes, total_bytes: 16_000_000_000 }));
        check(&of(5_000_000_000), Verdict::Good, "5.0 GB free of 16.0 GB");
        check(&of(4_000_000_000), Verdict::Odd, "not for a worker");
        check(&of(1_000_000_000), Verdict::Wrong, "nothing");
    }

    #[test]
    fn clocks_that_differ_by_seconds_are_odd() {
        check(&clocks(Moment(10_900), Moment(10_000)), Verdict::Good, "as the service's");
        check(&clocks(Moment(70_000), Moment(10_000)), Verdict::Odd, "60 s before");
        check(&clocks(Moment(10_000), Moment(70_000)), Verdict::Odd, "60 s behind");
    }

    #[tokio::test]
    async fn a_port_that_somebody_has_is_wrong() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Address = taken.local_addr().unwrap().into();
        check(&port(&address).await, Verdict::Wrong, "in use");
        drop(taken);
        check(&port(&address).await, Verdict::Good, "free");
    }
}
