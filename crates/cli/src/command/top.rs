//! `sp1d top`: shows a service in the terminal and refreshes the view periodically.

mod view;

use super::program::print;
use crate::{
    args::{OutputForm, TopArguments},
    exit::{Failure, without_hints},
};
use anyhow::{Context, Result, anyhow};
use client::{Client, ClientError, Health, Proof, ProofState, Workers};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use view::View;

/// Maximum number of running proofs shown, and of queued proofs. The newest are shown.
const MOST_PROOFS: u32 = 100;

/// Maximum number of ended proofs shown. The last ones to end are shown.
const MOST_ENDED: u32 = 20;

/// Timeout of a query. After it, the view marks the shown state as old.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for a key. The keyboard thread notices the end of the view after this time at the latest.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// The state of a service at one moment.
#[derive(Debug, Clone, Default, Serialize)]
struct Seen {
    health: Health,
    #[serde(flatten)]
    workers: Workers,
    /// Running proofs, queued proofs, and the proofs that ended last.
    proofs: Vec<Proof>,
}

async fn look(client: &Client) -> Result<Seen> {
    let seen = timeout(PATIENCE, async {
        let (health, workers) = tokio::try_join!(client.health(), client.workers())?;
        let mut proofs = BTreeMap::new();
        // Query the states in the order in which proofs pass through them, so that no proof is missed. If two responses
        // contain the same proof, the later one counts.
        for state in ProofState::ALL {
            let most = if state.is_final() { MOST_ENDED } else { MOST_PROOFS };
            let found = client.proofs(Some(state), most).await?;
            proofs.extend(found.into_iter().map(|proof| (proof.id.clone(), proof)));
        }
        Ok::<_, ClientError>(Seen { health, workers, proofs: arranged(proofs.into_values()) })
    });
    let silent = || anyhow!("the service at {} did not respond within {} s", client.url(), PATIENCE.as_secs());
    Ok(seen.await.map_err(|_| silent())??)
}

/// Sorts proofs: running first, then queued in the order of their start, then ended with the latest first.
fn arranged(proofs: impl Iterator<Item = Proof>) -> Vec<Proof> {
    let place = |proof: &Proof| match proof.state {
        ProofState::Running => (0, 0, proof.created.0),
        ProofState::Queued => (1, -proof.priority, proof.created.0),
        ProofState::Done | ProofState::Failed | ProofState::Cancelled => {
            (2, 0, proof.ended.map_or(0, |ended| -ended.0))
        }
    };
    let mut proofs: Vec<Proof> = proofs.collect();
    proofs.sort_by_key(place);
    let others = proofs.iter().take_while(|proof| !proof.state.is_final()).count();
    proofs.truncate(others + MOST_ENDED as usize);
    proofs
}

pub(crate) async fn run(arguments: TopArguments) -> Result<()> {
    let client = Client::new(&arguments.remote.url)?;
    let every = Duration::from_secs(arguments.every);
    if arguments.remote.output == OutputForm::Json {
        return print_lines(&client, every).await;
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        let text = "`sp1d top` needs a terminal\nhint: use `sp1d status`, or `sp1d top --output json` for one line per \
                    update";
        return Err(Failure::usage(text).into());
    }
    // A wrong address or an unreachable service fails before the screen is taken over.
    let seen = look(&client).await?;
    // Signals are handled from here on: a second signal must not end the process before the terminal is restored.
    let stop = stopped_by_signals()?;
    let _screen = Screen;
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let mut view = View::new(client.url());
    view.seen(seen);
    // Stops the keyboard thread when this function returns.
    let _stopped = stop.clone().drop_guard();
    draw_until_stopped(&mut terminal, &mut view, &client, every, stop).await
}

fn stopped_by_signals() -> Result<CancellationToken> {
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

/// Restores the terminal when dropped.
struct Screen;

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn print_lines(client: &Client, every: Duration) -> Result<()> {
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        print(&serde_json::to_string(&look(client).await?)?)?;
    }
}

async fn draw_until_stopped(
    terminal: &mut DefaultTerminal,
    view: &mut View,
    client: &Client,
    every: Duration,
    stop: CancellationToken,
) -> Result<()> {
    let mut keys = read_keys(stop.clone());
    let mut looks = look_again(client.clone(), every);
    loop {
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
            look = looks.recv() => match look.context("the task that queries the service ended")? {
                Ok(seen) => view.seen(seen),
                Err(error) => view.missed(without_hints(&error)),
            },
        }
    }
}

/// Returns the keyboard's events until `stop`. Reading blocks, so it has its own thread.
fn read_keys(stop: CancellationToken) -> mpsc::Receiver<Event> {
    let (typed, keys) = mpsc::channel(64);
    std::thread::spawn(move || {
        while !stop.is_cancelled() {
            let read = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            // A read error means that the terminal is gone. A send error means that the receiver is gone.
            let Ok(event) = read else { return };
            if typed.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// Queries the service periodically until the receiver is dropped. A service that does not respond delays nothing else.
fn look_again(client: Client, every: Duration) -> mpsc::Receiver<Result<Seen>> {
    let (saw, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tokio::select! {
                look = look(&client) => {
                    if saw.send(look).await.is_err() {
                        return;
                    }
                }
                () = saw.closed() => return,
            }
        }
    });
    looks
}
