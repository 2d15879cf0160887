//! Signals that stop a command.

use crate::exit::INTERRUPTED;
use anyhow::Result;
use std::{fs, future, process};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first SIGINT, SIGTERM or SIGHUP cancels. A further SIGINT or SIGTERM ends the process at
/// once.
pub(super) fn cancelled_by_signals() -> Result<CancellationToken> {
    // A process that was started to outlive its terminal, for example with nohup, ignores SIGHUP.
    cancelled_by(!ignores_hangups())
}

/// Like [`cancelled_by_signals`], but without SIGHUP: it makes a service read its worker list again.
pub(super) fn cancelled_by_signals_but_hangups() -> Result<CancellationToken> {
    cancelled_by(false)
}

fn cancelled_by(hangups: bool) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupts, mut terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangups = if hangups { Some(signal(SignalKind::hangup())?) } else { None };
    let cancel = token.clone();
    tokio::spawn(async move {
        loop {
            let hung_up = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => future::pending().await,
                }
            };
            let again = cancel.is_cancelled();
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                // A closed terminal can cause two of these signals, from the shell and from the kernel. So they never
                // end the process at once.
                _ = hung_up => {
                    cancel.cancel();
                    continue;
                }
            }
            if again {
                sp1d_engine::kill_executions();
                process::exit(INTERRUPTED.into());
            }
            cancel.cancel();
            tracing::warn!("stopping; send the signal again to stop at once");
        }
    });
    Ok(token)
}

/// Returns whether the process was started with SIGHUP ignored. See proc(5), `SigIgn`.
fn ignores_hangups() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    // SIGHUP is signal 1, which is the lowest bit.
    ignored.unwrap_or(0) & 1 != 0
}
