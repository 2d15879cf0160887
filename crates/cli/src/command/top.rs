//! `sp1d top`.

mod view;

use super::program::print;
use crate::{
    args::{OutputForm, TopArguments},
    exit::Failure,
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

/// Proofs that run, and that wait, at most so many of each: the newest.
const MOST_PROOFS: u32 = 100;

/// Proofs that have ended: the last ones.
const MOST_ENDED: u32 = 20;

/// How long an answer is waited for: what is shown is said to be old after that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the keyboard is waited for at a time: so late it is seen that the view has ended.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// How a service is at a moment.
#[derive(Debug, Clone, Default, Serialize)]
struct Seen {
    health: Health,
    #[serde(flatten)]
    workers: Workers,
    /// Those that run, those that wait, and the last ones that ended.
    proofs: Vec<Proof>,
}

async fn look(client: &Client) -> Result<Seen> {
    let seen = timeout(PATIENCE, async {
        let (health, workers) = tokio::try_join!(client.health(), client.workers())?;
        let mut proofs = BTreeMap::new();
        // In the order in which they come from one state to the next, so that none is missed; what is in two answers is
        // as the later one says.
        for state in ProofState::ALL {
            let most = if state.is_final() { MOST_ENDED } else { MOST_PROOFS };
            let found = client.proofs(Some(state), most).await?;
            proofs.extend(found.into_iter().map(|proof| (proof.id.clone(), proof)));
        }
        Ok::<_, ClientError>(Seen { health, workers, proofs: arranged(proofs.into_values()) })
    });
    let silent = || anyhow!("{} has not answered for {} s", client.url(), PATIENCE.as_secs());
    Ok(seen.await.map_err(|_| silent())??)
}

/// What runs, what is next, and what has ended last.
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
        let text = "`sp1d top` draws on a terminal, and this is none; use `sp1d status`, or `sp1d top --output json` for a line a second";
        return Err(Failure::usage(text).into());
    }
    // A wrong address, or no service at all, is told before the screen is taken.
    let seen = look(&client).await?;
    // A second signal must not end the process while the terminal is not as it was.
    let stop = stopped_by_signals()?;
    let _screen = Screen;
    let mut terminal = ratatui::try_init().context("draw on this terminal")?;
    let mut view = View::new(client.url());
    view.seen(seen);
    // However this ends, what reads the keyboard ends with it.
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

/// Gives the terminal back as it was, whatever happens.
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
        terminal.draw(|frame| view.draw(frame)).context("draw on this terminal")?;
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
                // Whatever else there is, such as another size: it is drawn anew.
                Some(_) => {}
            },
            look = looks.recv() => match look.context("the service is no longer looked at")? {
                Ok(seen) => view.seen(seen),
                Err(error) => view.missed(error.to_string()),
            },
        }
    }
}

/// What is typed, until `stop`. Reading blocks, and so has a thread of its own.
fn read_keys(stop: CancellationToken) -> mpsc::Receiver<Event> {
    let (typed, keys) = mpsc::channel(64);
    std::thread::spawn(move || {
        while !stop.is_cancelled() {
            let read = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            // The terminal is gone, or nobody wants to know any more.
            let Ok(event) = read else { return };
            if typed.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// Looks at the service again and again, for as long as somebody wants to know. A service that does not answer holds up
/// nothing else.
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
