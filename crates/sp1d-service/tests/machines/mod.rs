//! Machines with a network of their own: network namespaces. A test runs itself again as root of its own namespaces,
//! where it is one of the machines.

#![allow(dead_code, reason = "no test uses all of it")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Set for the process in the namespaces.
const INSIDE: &str = "SP1D_TEST_INSIDE_NAMESPACES";

/// Runs the ignored test `name` of this test program in namespaces of its own. It must pass.
#[track_caller]
pub(crate) fn run_in_namespaces(name: &str) {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Starts the loopback interface. Checks that this process is in namespaces of its own.
#[track_caller]
pub(crate) fn enter_namespaces() {
    assert!(std::env::var_os(INSIDE).is_some(), "this test runs only in namespaces that another test makes");
    run("ip", &["link", "set", "lo", "up"]);
}

/// Returns a client without the proxy of the environment, which is not in these networks.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Killed when dropped.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network namespace that is connected with that of this process. It ends when dropped.
pub(crate) struct Machine {
    holder: Process,
    /// The address of this process in that network.
    pub(crate) our_address: String,
    /// The address of the machine.
    pub(crate) address: String,
}

impl Machine {
    /// Starts the machine `number`, with its own network.
    pub(crate) fn start(number: u8) -> Self {
        let script = "ip link set lo up && echo ready && exec sleep 600";
        let mut command = Command::new("unshare");
        let mut holder =
            command.args(["--net", "sh", "-c", script]).stdout(Stdio::piped()).spawn().map(Process).unwrap();
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        let [our_address, address] = [1, 2].map(|host| format!("10.66.{number}.{host}"));
        let machine = Self { holder, our_address, address };
        let (pid, ours, theirs) = (machine.holder.0.id().to_string(), format!("own{number}"), format!("its{number}"));
        run("ip", &["link", "add", &ours, "type", "veth", "peer", "name", &theirs, "netns", &pid]);
        run("ip", &["address", "add", &format!("{}/24", machine.our_address), "dev", &ours]);
        run("ip", &["link", "set", &ours, "up"]);
        machine.run(&["ip", "address", "add", &format!("{}/24", machine.address), "dev", &theirs]);
        machine.run(&["ip", "link", "set", &theirs, "up"]);
        machine
    }

    /// Returns the address for workers that join the service of this machine.
    pub(crate) fn join_address(&self) -> String {
        format!("{}:8091", self.address)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.holder.0.id().to_string(), "--"]);
        command
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a service on this machine, which dials `workers`, and returns it with its URL. It has the `variables` of
    /// the example `fake_serve`.
    pub(crate) fn serve(&self, state: &Path, workers: &[String], variables: &[(&str, &str)]) -> (Process, String) {
        let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/fake_serve");
        let mut command = self.command();
        command.arg(program).arg(state).args(workers).envs(variables.iter().copied());
        command.env("FREE_BYTES", "0").env("JOIN_FROM", "10.66.0.0/16");
        command.env("LISTEN", format!("{}:8090", self.address)).env("JOIN_LISTEN", self.join_address());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.find_map(|line| line.strip_prefix("serving ").map(str::to_owned));
        (Process(child), url.expect("the service starts"))
    }
}
