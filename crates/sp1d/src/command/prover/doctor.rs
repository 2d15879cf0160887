//! `sp1d doctor`: checks the requirements of this machine, of workers and of a service, and suggests a fix for each
//! problem.

use super::{
    config,
    finding::{CheckFinding, CheckOutcome, failed, finding},
    gpu_findings::gpus_of_this_machine,
    shared_memory::{SharedMemoryDemand, SmallSharedMemory},
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
use sp1d_engine::{
    MachineError, NoLineLimit, check_executor_host, check_line_limit, check_temporary_folder, smallest_worker_bytes,
};
use sp1d_machine::{Memory, unused_processor_feature};
use sp1d_model::{counted, hint};
use sp1d_orchestrator::{ListError, ProbeError, Probed, WorkerAddress, probe};
use sp1d_protocol::Address;
use sp1d_roles::config::{Config, ConfigError, environment};
use std::io;
use tokio::net::TcpListener;

/// Clocks that differ by more make timelines and deadlines hard to read.
const MAX_CLOCK_DIFFERENCE_SECONDS: i64 = 2;

/// Memory of an orchestrator besides its proofs' artifacts: SP1's executor, its trace, and the verifier.
const ORCHESTRATOR_BYTES: u64 = 4_000_000_000;

pub(crate) async fn run(arguments: DoctorArguments) -> Result<()> {
    let mut machine = vec![memory(Memory::now()), processor()];
    machine.extend(cores(std::thread::available_parallelism().map_or(1, usize::from)));
    machine.extend(gpus_of_this_machine().await);
    machine.extend(executor());
    machine.push(line_limit(check_line_limit()));
    for address in &arguments.listen {
        machine.push(port(address).await);
    }
    let (mut settings, mut peers) = (Vec::new(), Vec::new());
    match config::load(&arguments.pool) {
        Ok(config) => peers.extend(workers(&config).await),
        Err(error) => {
            let is_named = arguments.pool.workers.is_some() || environment(WORKERS_VARIABLE).is_some();
            settings.push(unusable_config(&error, is_named));
        }
    }
    if let Some(url) = &arguments.url {
        peers.extend(service(url, arguments.access.client(url)).await);
    }
    let code = exit_code(&machine, &settings, &peers);
    let findings: Vec<CheckFinding> = machine.into_iter().chain(settings).chain(peers).collect();
    show(&findings, arguments.json)?;
    match code {
        None => Ok(()),
        Some(code) => {
            let failed = findings.iter().filter(|finding| finding.outcome == CheckOutcome::Failed).count();
            Err(CliError::new(code, format!("{failed} of {} failed", counted(findings.len(), "check"))).into())
        }
    }
}

/// Environment variable with the path of the worker list.
const WORKERS_VARIABLE: &str = "SP1_DISTRIBUTED_WORKERS";

/// Returns the exit code, or `None` if no check failed. A problem of this machine comes first, then one of the
/// settings, then one of the workers and the service.
fn exit_code(machine: &[CheckFinding], settings: &[CheckFinding], peers: &[CheckFinding]) -> Option<u8> {
    let groups = [(machine, exit::HOST), (settings, exit::USAGE), (peers, exit::WORKERS)];
    let is_failed = |finding: &CheckFinding| finding.outcome == CheckOutcome::Failed;
    groups.into_iter().find(|(findings, _)| findings.iter().any(is_failed)).map(|(_, code)| code)
}

/// Returns the finding for a configuration that cannot be used. A user who has named no worker list need not have one:
/// then only this machine is checked.
fn unusable_config(error: &ConfigError, is_named: bool) -> CheckFinding {
    let list = "worker list";
    match error {
        ConfigError::List(ListError::Read { path, reason })
            if reason.kind() == io::ErrorKind::NotFound && !is_named =>
        {
            let found = format!("this folder has no worker list {}", path.display());
            let remedy = "only to check workers: create the list, or pass another one with `--workers`";
            finding(list, CheckOutcome::NotChecked, found, remedy)
        }
        ConfigError::List(_) => failed(list, error, "correct the list, or pass another one with `--workers`"),
        // These errors name the setting, its source and what is wrong.
        _ => failed("settings", error, ""),
    }
}

fn show(findings: &[CheckFinding], as_json: bool) -> Result<()> {
    if as_json {
        return print(&json!({ "findings": findings }).to_string());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["check", "outcome", "found", "what to do"]);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    for CheckFinding { what, outcome, found, remedy } in findings {
        table.add_row([what.as_str(), outcome.name(), found, remedy]);
    }
    print(&table.to_string())
}

fn memory(memory: Option<Memory>) -> CheckFinding {
    let what = "memory";
    let Some(Memory { available_bytes, total_bytes }) = memory else {
        return finding(what, CheckOutcome::NotChecked, "the system does not report its memory", "");
    };
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let found = format!("{} free of {}", gigabytes(available_bytes), gigabytes(total_bytes));
    let worker = smallest_worker_bytes();
    let (outcome, enough) = match (available_bytes >= worker, available_bytes >= ORCHESTRATOR_BYTES) {
        (true, true) => return finding(what, CheckOutcome::Passed, found, ""),
        (true, false) => (CheckOutcome::Warning, "enough for a worker, but not for an orchestrator"),
        (false, true) => (CheckOutcome::Warning, "enough for an orchestrator, but not for a worker"),
        (false, false) => (CheckOutcome::Failed, "too little for an orchestrator or a worker"),
    };
    let remedy = format!(
        "stop other programs: a worker needs {} for the smallest shards, an orchestrator {}",
        gigabytes(worker),
        gigabytes(ORCHESTRATOR_BYTES)
    );
    finding(what, outcome, format!("{found}: {enough}"), remedy)
}

fn processor() -> CheckFinding {
    match unused_processor_feature() {
        None => {
            finding("processor", CheckOutcome::Passed, "this build uses all its features that make proving faster", "")
        }
        Some(feature) => finding(
            "processor",
            CheckOutcome::Warning,
            format!("this build does not use its feature {feature}, so proving takes up to four times as long"),
            "build sp1d on this machine with `RUSTFLAGS=\"-C target-cpu=native\"`",
        ),
    }
}

/// Suggests `sp1d tune` on machines with many cores: only a measurement shows how many cores one prover uses well.
fn cores(cores: usize) -> Option<CheckFinding> {
    /// With at most this many cores there are few settings to choose from.
    const MAX_UNTUNED_CORES: usize = 8;
    (cores > MAX_UNTUNED_CORES).then(|| {
        let remedy = "several provers can be faster than one: measure with `sp1d tune`";
        finding("cores", CheckOutcome::Passed, cores.to_string(), remedy)
    })
}

/// Checks what executions need on this machine. The hints of the errors are the remedy.
fn executor() -> Vec<CheckFinding> {
    let of = |what: &str, outcome: Result<(), MachineError>| match outcome {
        Ok(()) => finding(what, CheckOutcome::Passed, "suitable for executions", ""),
        Err(error) => failed(what, error, ""),
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

fn little_shared_memory(small: SmallSharedMemory) -> CheckFinding {
    let SmallSharedMemory { size_mb, wanted_mb, demand } = small;
    let found = match demand {
        SharedMemoryDemand::Executions(_) => {
            format!("{size_mb} MB: enough for small programs, but a large program uses up to {wanted_mb} MB")
        }
        SharedMemoryDemand::GasCount => format!(
            "{size_mb} MB: enough without gas limits, but a large program with a gas limit uses up to {wanted_mb} MB"
        ),
    };
    finding("/dev/shm", CheckOutcome::Warning, found, small.remedy())
}

/// Returns the finding about the limit for the lines of programs. Trusted programs need no limit, so its lack is only a
/// warning.
fn line_limit(checked: Result<(), NoLineLimit>) -> CheckFinding {
    let what = "line limit";
    match checked {
        Ok(()) => finding(what, CheckOutcome::Passed, "a program that writes a line without end is stopped", ""),
        Err(error) => CheckFinding { outcome: CheckOutcome::Warning, ..failed(what, error, "") },
    }
}

async fn port(address: &Address) -> CheckFinding {
    let what = format!("port {address}");
    let bound = async {
        let found = address.resolve().await?;
        TcpListener::bind(found.as_slice()).await
    };
    match bound.await {
        Ok(_) => finding(what, CheckOutcome::Passed, "free", ""),
        Err(error) => failed(what, error, "choose another port, or stop the program that uses it"),
    }
}

async fn workers(config: &Config) -> Vec<CheckFinding> {
    let look = async |worker_address: &WorkerAddress| {
        let what = format!("worker {worker_address}");
        if *worker_address == WorkerAddress::Local {
            return finding(what, CheckOutcome::Passed, "it runs in the orchestrator's own process", "");
        }
        match probe(worker_address, &config.orchestrator.build, config.orchestrator.tls.as_ref()).await {
            Ok(probed) => reached(what, &probed),
            Err(ProbeError::Busy(text)) => {
                finding(what, CheckOutcome::Passed, format!("in use: {}", hint::separate([text]).0), "")
            }
            Err(ProbeError::Build(mismatch)) => {
                failed(what, mismatch, "install the same sp1d release on both machines")
            }
            Err(error @ (ProbeError::Unreachable(_) | ProbeError::NoAddress(_))) => failed(what, error, UNREACHABLE),
        }
    };
    // Probe all workers at the same time: unreachable workers only fail after a timeout.
    futures::future::join_all(config.list.0.iter().map(look)).await
}

/// Returns the finding for a worker that responds.
fn reached(what: String, probed: &Probed) -> CheckFinding {
    let Probed { name, memory_bytes, hardware, ready_provers, failed_provers, .. } = probed;
    let threads = counted(probed.threads, "thread");
    let found = format!("{name}: {threads}, {:.0} GB, {hardware}", *memory_bytes as f64 / 1e9);
    if *failed_provers == 0 {
        return finding(what, CheckOutcome::Passed, found, "");
    }
    // With provers that still load, the worker may soon prove.
    let outcome = if *ready_provers == 0 { CheckOutcome::Failed } else { CheckOutcome::Warning };
    let failed = counted(*failed_provers, "prover");
    finding(what, outcome, format!("{found}: {failed} cannot be loaded"), "see the log of the worker")
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
        findings.push(failed(what, error, ""));
    }
    findings
}

async fn ask_service(client: &Client, what: &str, findings: &mut Vec<CheckFinding>) -> Result<(), ClientError> {
    let health = client.health().await?;
    let own = env!("CARGO_PKG_VERSION");
    findings.push(if health.release == own {
        let found = format!("release {own}, {} of {} ready", health.ready_workers, counted(health.workers, "worker"));
        finding(what, CheckOutcome::Passed, found, "")
    } else {
        let found = format!("release {}, but this sp1d is release {own}", health.release);
        finding(what, CheckOutcome::Warning, found, "install the same sp1d release on both machines")
    });
    for warning in &health.warnings {
        findings.push(finding(what, CheckOutcome::Warning, warning.as_str(), "see the log of the service"));
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
            CheckOutcome::Failed,
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
        finding("clock", CheckOutcome::Passed, "it shows the same time as that of the service", "")
    } else {
        let found =
            format!("it is {} s {} that of the service", apart.abs(), if apart > 0 { "ahead of" } else { "behind" });
        finding(
            "clock",
            CheckOutcome::Warning,
            found,
            "synchronize both machines with the same time server (systemd-timesyncd, chrony)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &CheckFinding, outcome: CheckOutcome, part: &str) {
        assert_eq!(found.outcome, outcome, "{found:?}");
        assert!(found.found.contains(part), "{found:?}");
        assert_eq!(found.remedy.is_empty(), outcome == CheckOutcome::Passed, "{found:?}");
    }

    #[test]
    fn memory_verdict_depends_on_the_available_memory() {
        let of = |available_bytes| memory(Some(Memory { available_bytes, total_bytes: 16_000_000_000 }));
        check(&of(5_000_000_000), CheckOutcome::Passed, "5.0 GB free of 16.0 GB");
        check(&of(4_000_000_000), CheckOutcome::Warning, "not for a worker");
        check(&of(1_000_000_000), CheckOutcome::Failed, "too little");
    }

    #[test]
    fn the_small_shared_memory_of_a_default_container_is_a_warning() {
        let small = SmallSharedMemory { size_mb: 67, wanted_mb: 1600, demand: SharedMemoryDemand::Executions(1) };
        check(&little_shared_memory(small), CheckOutcome::Warning, "67 MB: enough for small programs");
        let small = SmallSharedMemory { size_mb: 4000, wanted_mb: 4900, demand: SharedMemoryDemand::GasCount };
        check(&little_shared_memory(small), CheckOutcome::Warning, "4000 MB: enough without gas limits");
    }

    #[test]
    fn a_missing_line_limit_is_a_warning() {
        check(&line_limit(Ok(())), CheckOutcome::Passed, "a line without end");
        let missing = NoLineLimit("of a reason".to_owned());
        check(&line_limit(Err(missing)), CheckOutcome::Warning, "because of a reason");
    }

    #[test]
    fn the_exit_code_names_the_first_group_with_a_failed_check() {
        use CheckOutcome::{Failed, NotChecked, Passed, Warning};
        let of = |outcome| vec![finding("what", outcome, "found", "")];
        let check = |machine, settings, peers, expected| {
            assert_eq!(exit_code(&of(machine), &of(settings), &of(peers)), expected);
        };
        check(Passed, Warning, Warning, None);
        check(NotChecked, NotChecked, Passed, None);
        check(Warning, Passed, Failed, Some(exit::WORKERS));
        check(Passed, Failed, Failed, Some(exit::USAGE));
        check(Failed, Failed, Failed, Some(exit::HOST));
        check(Failed, Passed, Passed, Some(exit::HOST));
    }

    #[test]
    fn only_a_list_that_need_not_exist_may_be_missing() {
        let error = |reason: io::ErrorKind| {
            ConfigError::List(ListError::Read { path: "distributed.json".into(), reason: reason.into() })
        };
        let missing = error(io::ErrorKind::NotFound);
        check(&unusable_config(&missing, false), CheckOutcome::NotChecked, "no worker list distributed.json");
        check(&unusable_config(&missing, true), CheckOutcome::Failed, "cannot read the worker list distributed.json");
        let unreadable = error(io::ErrorKind::PermissionDenied);
        check(&unusable_config(&unreadable, false), CheckOutcome::Failed, "cannot read the worker list");
        let empty = ConfigError::List(ListError::Empty { path: "distributed.json".into() });
        check(&unusable_config(&empty, false), CheckOutcome::Failed, "names no worker");
    }

    #[test]
    fn an_invalid_setting_is_not_a_fault_of_the_worker_list() {
        let error = ConfigError::Setting {
            name: "verify".to_owned(),
            value: "al".to_owned(),
            source_text: "the environment variable SP1_DISTRIBUTED_VERIFY".to_owned(),
            reason: "use all or final".to_owned(),
        };
        for is_named in [false, true] {
            let CheckFinding { what, outcome, found, remedy } = unusable_config(&error, is_named);
            assert_eq!((what.as_str(), outcome, remedy.as_str()), ("settings", CheckOutcome::Failed, ""));
            assert!(found.contains("SP1_DISTRIBUTED_VERIFY"), "{found}");
        }
    }

    #[test]
    fn a_worker_whose_provers_cannot_be_loaded_fails() {
        let of = |ready_provers, failed_provers| {
            let probed = Probed {
                name: "w".to_owned(),
                threads: 1,
                memory_bytes: 16_000_000_000,
                memory: None,
                largest_cut: None,
                hardware: "a processor".to_owned(),
                ready_provers,
                failed_provers,
            };
            reached("worker".to_owned(), &probed)
        };
        check(&of(0, 0), CheckOutcome::Passed, "w: 1 thread, 16 GB, a processor");
        check(&of(1, 1), CheckOutcome::Warning, "1 prover cannot be loaded");
        check(&of(0, 2), CheckOutcome::Failed, "2 provers cannot be loaded");
    }

    #[test]
    fn clocks_that_differ_by_a_minute_are_a_warning() {
        check(&clocks(Moment(10_900), Moment(10_000)), CheckOutcome::Passed, "the same time as that of the service");
        check(&clocks(Moment(70_000), Moment(10_000)), CheckOutcome::Warning, "60 s ahead of that of the service");
        check(&clocks(Moment(10_000), Moment(70_000)), CheckOutcome::Warning, "60 s behind that of the service");
    }

    #[test]
    fn the_hints_of_an_error_are_the_remedy() {
        let found = failed("port", "it is taken\nhint: choose another", "otherwise");
        assert_eq!((found.found.as_str(), found.remedy.as_str()), ("it is taken", "choose another"));
        assert_eq!(failed("port", "it is taken", "otherwise").remedy, "otherwise");
    }

    #[tokio::test]
    async fn a_port_in_use_fails() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Address = taken.local_addr().unwrap().into();
        check(&port(&address).await, CheckOutcome::Failed, "in use");
        drop(taken);
        check(&port(&address).await, CheckOutcome::Passed, "free");
    }
}
