//! Draws the view until the user stops it.

use super::{
    snapshot::{MainWaitReason, ServiceSnapshot, query, query_main_reason},
    view::TopView,
};
use crate::{
    args::TopArguments,
    exit::{CliError, without_hints},
    terminal::print,
};
use anyhow::{Context, Result};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use sp1d_client::Client;
use std::{
    io::{self, IsTerminal},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// Longest wait for a key. The keyboard thread notices the end of the view after this time at the latest.
const KEY_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Pause between two queries for the reason why tasks wait. Such a query occupies the dispatcher of the service.
const REASON_INTERVAL: Duration = Duration::from_secs(3);

pub(in crate::command) async fn run(arguments: TopArguments) -> Result<()> {
    let client = arguments.remote.client()?;
    let every = Duration::from_secs(arguments.every);
    if arguments.remote.json {
        return print_lines(&client, every).await;
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        let text = "`sp1d top` needs a terminal\nhint: use `sp1d status`, or `sp1d top --json` for one line per update";
        return Err(CliError::usage(text).into());
    }
    // A wrong address or an unreachable service fails before the screen is taken over.
    let snapshot = query(&client).await?;
    // Signals are handled from here on: a second signal must not end the process before the terminal is restored.
    let stop = stopped_by_signals()?;
    let _screen = ScreenGuard;
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let mut view = TopView::new(client.url());
    view.show(snapshot);
    // Stops the keyboard thread when this function returns.
    let _stopped = stop.clone().drop_guard();
    draw_until_stopped(&mut terminal, &mut view, &client, every, stop).await
}

#[cfg(unix)]
fn stopped_by_signals() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

#[cfg(not(unix))]
fn stopped_by_signals() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        // Without the signal, the keyboard still stops the view.
        if tokio::signal::ctrl_c().await.is_ok() {
            stopped.cancel();
        }
    });
    Ok(stop)
}

/// Restores the terminal when dropped.
struct ScreenGuard;

impl Drop for ScreenGuard {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn print_lines(client: &Client, every: Duration) -> Result<()> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        print(&serde_json::to_string(&query(client).await?)?)?;
    }
}

async fn draw_until_stopped(
    terminal: &mut DefaultTerminal,
    view: &mut TopView,
    client: &Client,
    every: Duration,
    stop: CancellationToken,
) -> Result<()> {
    let mut keys = read_keys(stop.clone());
    let mut snapshots = query_periodically(client.clone(), every);
    let (shown, shown_proof) = watch::channel(view.shown_proof().map(ToOwned::to_owned));
    let mut reasons = query_main_reasons(client.clone(), shown_proof);
    loop {
        shown.send_replace(view.shown_proof().map(ToOwned::to_owned));
        terminal.draw(|frame| view.draw(frame)).context("cannot draw on this terminal")?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = keys.recv() => match event {
                // The terminal is gone.
                None => return Ok(()),
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if view.on_key(key) {
                        return Ok(());
                    }
                }
                // Any other event, for example a new terminal size, only redraws the view.
                Some(_) => {}
            },
            snapshot = snapshots.recv() => match snapshot.context("the task that queries the service ended")? {
                Ok(snapshot) => view.show(snapshot),
                Err(error) => view.on_failed_query(without_hints(&error)),
            },
            reason = reasons.recv() => {
                view.on_main_reason(reason.context("the task that queries the reasons ended")?);
            }
        }
    }
}

/// Returns the keyboard's events until `stop`. Reading blocks, so it has its own thread.
fn read_keys(stop: CancellationToken) -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(64);
    std::thread::spawn(move || {
        while !stop.is_cancelled() {
            let read = match event::poll(KEY_POLL_INTERVAL) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            // A read error means that the terminal is gone. A send error means that the receiver is gone.
            let Ok(event) = read else { return };
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// Queries the service periodically until the receiver is dropped. A service that does not respond delays nothing else.
fn query_periodically(client: Client, every: Duration) -> mpsc::Receiver<Result<ServiceSnapshot>> {
    let (sender, snapshots) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tokio::select! {
                snapshot = query(&client) => {
                    if sender.send(snapshot).await.is_err() {
                        return;
                    }
                }
                () = sender.closed() => return,
            }
        }
    });
    snapshots
}

/// Asks again and again why tasks of the shown proof wait, until the receiver is dropped.
fn query_main_reasons(client: Client, shown_proof: watch::Receiver<Option<String>>) -> mpsc::Receiver<MainWaitReason> {
    let (sender, reasons) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let proof = shown_proof.borrow().clone();
            if let Some(proof) = proof
                && sender.send(query_main_reason(&client, proof).await).await.is_err()
            {
                return;
            }
            tokio::select! {
                () = sleep(REASON_INTERVAL) => {}
                () = sender.closed() => return,
            }
        }
    });
    reasons
}
