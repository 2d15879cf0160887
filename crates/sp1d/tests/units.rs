//! The units in `packaging/systemd`: their programs start as the units say, find each other, and stop in time. No
//! prover is loaded. `./x test --full units` proves with them.

use sp1d_worker::StartLock;
use std::{path::PathBuf, time::Duration};

mod unit_files;

use unit_files::{Machine, Unit};

/// Returns the start lock of workers on `machine`, where this user may be root.
fn start_lock(machine: &Machine) -> PathBuf {
    let own = StartLock::default_path();
    if !machine.has_user() {
        return own;
    }
    own.parent().unwrap().with_file_name("sp1d-start-0").join("lock")
}

#[test]
fn the_units_as_they_are_meet_and_stop() {
    let machine = Machine::new(Duration::from_secs(60));
    // A worker waits for this lock before it loads its prover, which takes gigabytes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lock = runtime.block_on(StartLock::take(&start_lock(&machine), || {}));
    assert!(lock.is_held());
    let [serve, worker] = ["sp1d-serve", "sp1d-worker"].map(Unit::read);
    let serving = machine.start(&serve);
    machine.wait_for_state(&serve, "READY=1");
    let status = machine.run(&["status"]);
    assert!(status.status.success(), "the service is ready and does not respond: {status:?}");
    let working = machine.start(&worker);
    machine.wait_for_state(&worker, "READY=1");
    machine.wait_for("no worker", || (machine.worker_states() == ["starting"]).then_some(()));
    machine.stop(working, &worker);
    machine.wait_for_state(&worker, "STOPPING=1");
    // A worker that leaves is not expected back.
    machine.wait_for("the worker stays", || machine.worker_states().is_empty().then_some(()));
    machine.stop(serving, &serve);
    machine.wait_for_state(&serve, "STOPPING=1");
    drop(lock);
}

#[test]
fn the_units_keep_their_programs_running_and_give_them_time_to_stop() {
    let [serve, worker] = ["sp1d-serve", "sp1d-worker"].map(Unit::read);
    for unit in [&serve, &worker] {
        let expected = [
            ("Wants", "network-online.target"),
            // A unit has started when its program says so. `the_units_as_they_are_meet_and_stop` checks that it does.
            ("Type", "notify"),
            ("StartLimitIntervalSec", "0"),
            ("Restart", "always"),
            // The provers and the executors must not get SIGTERM: their parent process still needs them.
            ("KillMode", "mixed"),
            ("OOMPolicy", "continue"),
            ("UMask", "0077"),
            ("LimitCORE", "1"),
            ("PrivateTmp", "true"),
        ];
        for (name, value) in expected {
            assert_eq!(unit.get(name), value, "{name}");
        }
        assert!(unit.get("After").contains("network-online.target"));
        assert_eq!(unit.all("KillSignal").count(), 0, "the default is SIGTERM");
        assert!(unit.get("Documentation").starts_with("https://"), "no file of the documentation is installed");
    }
    // systemd's default of 90 s is too short for both. Without a limit, a service on a disk that does not respond would
    // keep the worker of the same machine from its start.
    assert_eq!(serve.get("TimeoutStartSec"), "1h", "the upgrade of a database may take minutes");
    assert_eq!(worker.get("TimeoutStartSec"), "10min", "the driver may take seconds for each GPU");
    assert_eq!(serve.get("StateDirectoryMode"), "0700");
    assert!(worker.get("After").contains("sp1d-serve.service"));
    assert_eq!(worker.variable("SP1D_JOIN"), serve.variable("SP1D_JOIN_LISTEN"));
    let words: Vec<&str> = worker.get("ExecStart").split(' ').collect();
    let grace: u64 = words[words.iter().position(|word| *word == "--grace").unwrap() + 1].parse().unwrap();
    // Ending the provers and giving back their memory takes seconds.
    assert!(worker.get("TimeoutStopSec").parse::<u64>().unwrap() >= grace + 30);
}

#[test]
fn the_units_leave_their_programs_few_rights() {
    let [serve, worker] = ["sp1d-serve", "sp1d-worker"].map(Unit::read);
    for unit in [&serve, &worker] {
        let expected = [
            ("User", "sp1d"),
            ("NoNewPrivileges", "true"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "true"),
            ("ProtectKernelTunables", "true"),
            ("RestrictNamespaces", "true"),
            // `sp1d` uses the network and, between its own processes, local sockets.
            ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
            // A call that is not allowed returns an error. Otherwise, the kernel would kill the program.
            ("SystemCallErrorNumber", "EPERM"),
        ];
        for (name, value) in expected {
            assert_eq!(unit.get(name), value, "{name}");
        }
        // These would take memory, processes or files from the programs that they need.
        for name in ["MemoryDenyWriteExecute", "RemoveIPC", "ProtectProc", "ProcSubset", "PrivateUsers"] {
            assert_eq!(unit.all(name).count(), 0, "{name}");
        }
    }
    assert_eq!(serve.all("ProtectControlGroups").count(), 0, "executions get control groups of their own");
    for name in ["ProtectClock", "DevicePolicy", "PrivateDevices"] {
        assert_eq!(worker.all(name).count(), 0, "{name} hides GPUs");
    }
}
