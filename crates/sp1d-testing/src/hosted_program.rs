//! The program on sp1-sdk itself, `examples-hosted`, in processes of its own.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};

/// The program of `examples-hosted`, for a service at this address. `./x test` builds the program, and names it in the
/// variable `SP1D_HOSTED_PROGRAM`.
#[derive(Debug, Clone, Copy)]
pub struct HostedProgram(pub SocketAddr);

impl HostedProgram {
    /// A private key that only tests use.
    pub const KEY: &str = "0x0000000000000000000000000000000000000000000000000000000000000001";
    /// The signer address of [`HostedProgram::KEY`].
    pub const ADDRESS: &str = "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf";
    /// Another private key.
    pub const OTHER_KEY: &str = "0x0000000000000000000000000000000000000000000000000000000000000002";

    /// Returns a command that runs the program with `arguments` on the guest `fibonacci`. It signs with the private key
    /// `key`.
    ///
    /// # Panics
    /// Panics if `SP1D_HOSTED_PROGRAM` is not set.
    #[must_use]
    pub fn command(self, key: &str, arguments: &[&str]) -> Command {
        let program = env::var_os("SP1D_HOSTED_PROGRAM").expect("`./x test` builds the program and sets this variable");
        let mut command = Command::new(program);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf/fibonacci")).args(arguments);
        command.env("SP1_PROVER", "hosted").env("NETWORK_RPC_URL", format!("http://{}", self.0));
        // Log lines of sp1-sdk go to stdout too.
        command.env("NETWORK_PRIVATE_KEY", key).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Returns the id of the request that `output`, of the argument `request`, contains.
    ///
    /// # Panics
    /// Panics if the program has failed.
    #[must_use]
    #[track_caller]
    pub fn requested(output: &Output) -> String {
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().last().expect("the program prints the id").trim().to_owned()
    }

    /// Checks that the program has ended with an error, and not with a panic, and has written `part`.
    ///
    /// # Panics
    /// Panics if that is not so.
    #[track_caller]
    pub fn check_failed(output: &Output, part: &str) {
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
}
