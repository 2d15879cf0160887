//! Exit codes.

/// An unexpected failure.
pub(crate) const OTHER: u8 = 1;
/// Invalid arguments, files or settings.
pub(crate) const USAGE: u8 = 2;
/// The program to prove failed, ran out of input or exceeded a limit.
pub(crate) const PROGRAM: u8 = 3;
/// No worker can be reached, is free or supports a required task, or all workers were lost.
pub(crate) const WORKERS: u8 = 4;
/// The timeout passed.
pub(crate) const TIMEOUT: u8 = 5;
/// The proof does not verify.
pub(crate) const UNVERIFIED: u8 = 6;
/// This machine lacks something, for example memory, `/dev/shm` or processor features.
pub(crate) const HOST: u8 = 7;
/// Interrupted, as shells report it: 128 plus the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// The list of exit codes in `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  success
    1  unexpected failure
    2  invalid arguments, files or settings
    3  the program to prove failed, ran out of input or exceeded a limit
    4  no worker can be reached, is free or supports a required task, or all workers were lost
    5  the timeout passed
    6  the proof does not verify
    7  this machine lacks something, for example memory, /dev/shm or processor features
  130  interrupted";
