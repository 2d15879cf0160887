//! Ends the processes of a measurement.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

/// Interval at which a process is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Asks `process` to end, and kills it if it still runs after `patience`. Returns when it has ended. Blocks.
///
/// A killed process does not wait for its own children, whose memory would still be in use in the next measurement.
pub fn end_process(process: &mut Child, patience: Duration) {
    let deadline = Instant::now() + patience;
    // A process that has ended and was waited for no longer has its id.
    if !matches!(process.try_wait(), Ok(Some(_))) {
        let _ = kill_process(Pid::from_child(process), Signal::TERM);
    }
    while matches!(process.try_wait(), Ok(None)) && Instant::now() < deadline {
        sleep(CHECK_INTERVAL);
    }
    // Both do nothing if the process has ended.
    let _ = process.kill();
    let _ = process.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    /// Ends a shell that runs `script`, which prints a line when it is ready. Returns its exit code and its signal.
    fn end(script: &str, patience: Duration) -> (Option<i32>, Option<i32>) {
        let mut process = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        end_process(&mut process, patience);
        let status = process.try_wait().unwrap().unwrap();
        (status.code(), status.signal())
    }

    #[test]
    fn a_process_gets_time_to_end_before_it_is_killed() {
        let cleaning = "trap 'exit 7' TERM; echo; while :; do sleep 0.05; done";
        assert_eq!(end(cleaning, Duration::from_secs(60)), (Some(7), None));
        let stubborn = "trap '' TERM; echo; while :; do sleep 0.05; done";
        assert_eq!(end(stubborn, Duration::from_millis(200)), (None, Some(Signal::KILL.as_raw())));
    }
}
