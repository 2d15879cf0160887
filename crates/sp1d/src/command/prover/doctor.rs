//! `sp1d doctor`: checks the requirements of this machine, of workers and of a service, and suggests a fix for each
//! problem.

use super::{
    config,
    finding::{CheckFinding, CheckVerdict, finding, wrong},
    gpu_findings::gpus,
    shared_memory::{self, SmallSharedMemory},
};
use crate::{
    args::DoctorArguments,
    command::remote::worker_problem,
    exit::{self, CliError},
    terminal::print,
};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sp1d_client::{Client, ClientError, Moment, WorkerActivity, redacted};
use sp1d_engine::{MachineError, check_executor_host, check_temporary_folder, smallest_worker_bytes};
use sp1d_machine::{Memory, gpu_library, unused_processor_feature};
use sp1d_model::hint;
use sp1d_orchestrator::{Member, ProbeError, Probed, probe};
use sp1d_protocol::Address;
use sp1d_roles::config::Config;
use tokio::net::TcpListener;

/// Clocks that differ by more make timelines and deadlines hard to read.
const MAX_CLOCK_DIFFERENCE_SECONDS: i64 = 2;

/// Memory of an orchestrator besides its proofs' artifacts: SP1's executor, its trace, and the verifier.
const ORCHESTRATOR_BYTES: u64 = 4_000_000_000;

pub(crate) async fn run(arguments: DoctorArguments) -> Result<()> {
    let mut findings = vec![memory(Memory::now()), processor()];
    findings.extend(cores(std::thread::available_parallelism().map_or(1, usize::from)));
    findings.extend(gpus(&gpu_library()));
    findings.extend(executor());
    for address in &arguments.listen {
        findings.push(port(address).await);
    }
    // Without `--workers`, an unusable worker list is not an error: only this machine is checked.
    match config::load(&arguments.pool) {
        Ok(config) => findings.extend(workers(&config).await),
        Err(error) if arguments.pool.workers.is_some() => {
            findings.push(wrong("worker list", error, "correct the list, or pass another one with `--workers`"));
        }
        Err(error) => {
            let (found, _) = hint::separate([error.to_string()]);
            findings.push(finding(
                "worker list",
                CheckVerdict::Odd,
                found,
                "to check workers, pass a list with `--workers`",
            ));
        }
    }
    if let Some(url) = &arguments.url {
        findings.extend(service(url, arguments.access.client(url)).await);
    }
    show(&findings, arguments.json)?;
    match findings.iter().filter(|finding| finding.verdict == CheckVerdict::Wrong).count() {
        0 => Ok(()),
        wrong => Err(CliError::new(exit::HOST, format!("{wrong} of {} checks failed", findings.len())).into()),
    }
}

fn show(findings: &[CheckFinding], as_json: bool) -> Result<()> {
    if as_json {
        return print(&json!({ "findings": findings }).to_string());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["", "verdict", "found", "what to do"]);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    for CheckFinding { what, verdict, found, remedy } in findings {
        table.add_row([what.as_str(), verdict.name(), found, remedy]);
    }
    print(&table.to_string())
}

fn memory(memory: Option<Memory>) -> CheckFinding {
    let what = "memory";
    let Some(Memory { available_bytes, total_bytes }) = memory else {
        return finding(what, CheckVerdict::Odd, "the system does not report its memory", "");
    };
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let found = format!("{} free of {}", gigabytes(available_bytes), gigabytes(total_bytes));
    let worker = smallest_worker_bytes();
    let (verdict, enough) = match (available_bytes >= worker, available_bytes >= ORCHESTRATOR_BYTES) {
        (true, true) => return finding(what, CheckVerdict::Good, found, ""),
        (true, false) => (CheckVerdict::Odd, "enough for a worker, but not for an orchestrator"),
        (false, true) => (CheckVerdict::Odd, "enough for an orchestrator, but not for a worker"),
        (false, false) => (CheckVerdict::Wrong, "too little for an orchestrator or a worker"),
    };
    let remedy = format!(
        "stop other programs: a worker needs {} for the smallest shards, an orchestrator {}",
        gigabytes(worker),
        gigabytes(ORCHESTRATOR_BYTES)
    );
    finding(what, verdict, format!("{found}: {enough}"), remedy)
}

fn processor() -> CheckFinding {
    match unused_processor_feature() {
        None => finding("processor", CheckVerdict::Good, "this build uses all its features that matter", ""),
        Some(feature) => finding(
            "processor",
            CheckVerdict::Odd,
            format!("this build does not use its feature {feature}: proving takes up to four times as long"),
            "build sp1d with `RUSTFLAGS=\"-C target-cpu=native\"`",
        ),
    }
}

/// Suggests `sp1d tune` on machines with many cores: only a measurement shows how many cores one prover uses well.
fn cores(cores: usize) -> Option<CheckFinding> {
    /// With at most this many cores there are few settings to choose from.
    const MAX_UNTUNED_CORES: usize = 8;
    (cores > MAX_UNTUNED_CORES).then(|| {
        let remedy = "several provers can be faster than one: measure with `sp1d tune`";
        finding("cores", CheckVerdict::Good, cores.to_string(), remedy)
    })
}

/// Checks what executions need on this machine. The hints of the errors are the remedy.
fn executor() -> Vec<CheckFinding> {
    let of = |what: &str, outcome: Result<(), MachineError>| match outcome {
        Ok(()) => finding(what, CheckVerdict::Good, "suitable for executions", ""),
        Err(error) => wrong(what, error, ""),
    };
    let folder = check_temporary_folder(&std::env::temp_dir());
    let is_good = folder.is_ok();
    let mut findings = vec![of("temporary folder", folder)];
    // `check_executor_host` checks the folder first and would report the same problem again.
    if is_good {
        let finding = match (check_executor_host(), SmallSharedMemory::of_machine(1)) {
            (Ok(()), Some(small)) => little_shared_memory(small),
            (outcome, _) => of("/dev/shm", outcome),
        };
        findings.push(finding);
    }
    findings
}

fn little_shared_memory(SmallSharedMemory { size_mb, wanted_mb }: SmallSharedMemory) -> CheckFinding {
    let found = format!("{size_mb} MB: enough for small programs, but a large program uses up to {wanted_mb} MB");
    finding("/dev/shm", CheckVerdict::Odd, found, shared_memory::REMEDY)
}

async fn port(address: &Address) -> CheckFinding {
    let what = format!("port {address}");
    let bound = async {
        let found = address.resolve().await?;
        TcpListener::bind(found.as_slice()).await
    };
    match bound.await {
        Ok(_) => finding(what, CheckVerdict::Good, "free", ""),
        Err(error) => wrong(what, error, "choose another port, or stop the program that uses it"),
    }
}

async fn workers(config: &Config) -> Vec<CheckFinding> {
    let look = async |member: &Member| {
        let what = format!("worker {member}");
        if *member == Member::Local {
            return finding(what, CheckVerdict::Good, "the orchestrator's own process", "");
        }
        match probe(member, &config.orchestrator.build, config.orchestrator.tls.as_ref()).await {
            Ok(Probed { name, threads, memory_bytes, cpu, .. }) => {
                let found = format!("{name}: {threads} threads, {:.0} GB, {cpu}", memory_bytes as f64 / 1e9);
                finding(what, CheckVerdict::Good, found, "")
            }
            Err(ProbeError::Busy(text)) => {
                finding(what, CheckVerdict::Good, format!("in use: {}", hint::separate([text]).0), "")
            }
            Err(ProbeError::Build(mismatch)) => wrong(what, mismatch, "install the same sp1d release on both machines"),
            Err(error @ (ProbeError::Unreachable(_) | ProbeError::NoAddress(_))) => wrong(what, error, UNREACHABLE),
        }
    };
    // Probe all workers at the same time: unreachable workers only fail after a timeout.
    futures::future::join_all(config.list.0.iter().map(look)).await
}

const UNREACHABLE: &str =
    "start `sp1d worker` on that machine, with this machine in its `--orchestrator` list, and open the port";

/// Checks a service: its release, its clock and its disconnected workers.
async fn service(url: &str, client: Result<Client, ClientError>) -> Vec<CheckFinding> {
    let (what, mut findings) = (format!("service {}", redacted(url)), Vec::new());
    let outcome = match client {
        Ok(client) => ask_service(&client, &what, &mut findings).await,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        findings.push(wrong(what, error, ""));
    }
    findings
}

async fn ask_service(client: &Client, what: &str, findings: &mut Vec<CheckFinding>) -> Result<(), ClientError> {
    let health = client.health().await?;
    let own = env!("CARGO_PKG_VERSION");
    findings.push(if health.release == own {
        let found = format!("release {own}, {} of {} workers ready", health.ready_workers, health.workers);
        finding(what, CheckVerdict::Good, found, "")
    } else {
        let found = format!("release {}, but this sp1d is release {own}", health.release);
        finding(what, CheckVerdict::Odd, found, "install the same sp1d release on both machines")
    });
    for warning in &health.warnings {
        findings.push(finding(what, CheckVerdict::Odd, warning.as_str(), "see the log of the service"));
    }
    if let Some(clock) = client.clock().await? {
        findings.push(clocks(Moment::now(), clock));
    }
    for worker in
        client.workers().await?.workers.into_iter().filter(|worker| worker.state == WorkerActivity::Disconnected)
    {
        let why = worker_problem(&worker);
        findings.push(finding(
            format!("worker {}", worker.name),
            CheckVerdict::Wrong,
            format!("disconnected: {why}"),
            UNREACHABLE,
        ));
    }
    Ok(())
}

fn clocks(own: Moment, other: Moment) -> CheckFinding {
    // The service reports whole seconds, rounded down.
    let apart = (own.0 - other.0) / 1000;
    if apart.abs() <= MAX_CLOCK_DIFFERENCE_SECONDS {
        finding("clock", CheckVerdict::Good, "same time as the service's", "")
    } else {
        let found = format!("{} s {} the service's", apart.abs(), if apart > 0 { "ahead of" } else { "behind" });
        finding(
            "clock",
            CheckVerdict::Odd,
            found,
            "synchronize both machines with the same time server (systemd-timesyncd, chrony)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &CheckFinding, verdict: CheckVerdict, part: &str) {
        assert_eq!(found.verdict, verdict, "{found:?}");
        assert!(found.found.contains(part), "{found:?}");
        assert_eq!(found.remedy.is_empty(), verdict == CheckVerdict::Good, "{found:?}");
    }

    #[test]
    fn memory_verdict_depends_on_the_available_memory() {
        let of = |available_bytes| memory(Some(Memory { available_bytes, total_bytes: 16_000_000_000 }));
        check(&of(5_000_000_000), CheckVerdict::Good, "5.0 GB free of 16.0 GB");
        check(&of(4_000_000_000), CheckVerdict::Odd, "not for a worker");
        check(&of(1_000_000_000), CheckVerdict::Wrong, "too little");
    }

    #[test]
    fn shared_memory_of_a_default_container_is_odd() {
        let small = SmallSharedMemory { size_mb: 67, wanted_mb: 1600 };
        check(&little_shared_memory(small), CheckVerdict::Odd, "67 MB: enough for small programs");
    }

    #[test]
    fn clocks_that_differ_by_a_minute_are_odd() {
        check(&clocks(Moment(10_900), Moment(10_000)), CheckVerdict::Good, "same time as the service's");
        check(&clocks(Moment(70_000), Moment(10_000)), CheckVerdict::Odd, "60 s ahead of");
        check(&clocks(Moment(10_000), Moment(70_000)), CheckVerdict::Odd, "60 s behind");
    }

    #[test]
    fn the_hints_of_an_error_are_the_remedy() {
        let found = wrong("port", "it is taken\nhint: choose another", "otherwise");
        assert_eq!((found.found.as_str(), found.remedy.as_str()), ("it is taken", "choose another"));
        assert_eq!(wrong("port", "it is taken", "otherwise").remedy, "otherwise");
    }

    #[tokio::test]
    async fn a_port_in_use_is_wrong() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Address = taken.local_addr().unwrap().into();
        check(&port(&address).await, CheckVerdict::Wrong, "in use");
        drop(taken);
        check(&port(&address).await, CheckVerdict::Good, "free");
    }
}
