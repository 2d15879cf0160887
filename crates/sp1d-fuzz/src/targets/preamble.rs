//! The first bytes on a connection, in both directions, and the notices to an orchestrator in a worker's queue.

use super::runtime::block_on;
use crate::harness::{FuzzMemory, FuzzTarget};
use sp1d_model::clean_line;
use sp1d_protocol::{
    Admission, BusyWorker, HolderId, PROTOCOL_VERSION, PreambleError, PreambleReply, QueuePlace, Role, dial,
    read_dialer, receive_place, reply, send_place,
};
use std::time::Duration;
use tokio::io::{Join, join};

const VERSION: [u8; 2] = PROTOCOL_VERSION.to_be_bytes();

/// The connection preamble. The first byte of an input selects the side that reads the rest.
pub const PREAMBLE: FuzzTarget = FuzzTarget {
    name: "preamble",
    max_bytes: 4096,
    memory: FuzzMemory { base_bytes: 1 << 20, per_byte: 64 },
    dictionary: &[b"SP1D", &VERSION, b"SP1D\x00\x04\x00\x00", b"\xff\xff", b"\x1b[31m"],
    seeds,
    check,
};

/// Number of sides of [`check`].
const SIDES: u8 = 7;

/// Returns a connection on which the peer has sent `sent` and then closed its side.
fn connection(sent: &[u8]) -> Join<&[u8], Vec<u8>> {
    join(sent, Vec::new())
}

fn check(input: &[u8]) {
    let Some((side, sent)) = input.split_first() else { return };
    match side % SIDES {
        0 => check_acceptor(sent, &[Role::Orchestrator, Role::IdleOrchestrator]),
        1 => check_acceptor(sent, &[Role::Worker]),
        2 => check_dialer(sent, Role::Orchestrator),
        3 => check_dialer(sent, Role::Worker),
        4 => check_place(sent),
        5 => check_turn(sent),
        _ => check_reply(&String::from_utf8_lossy(sent)),
    }
}

/// Checks that an error can be shown on a terminal.
#[track_caller]
fn check_error(error: &PreambleError) {
    // A hint is a line of its own.
    for line in error.to_string().split('\n') {
        assert_eq!(clean_line(line, usize::MAX), line);
    }
}

fn check_acceptor(sent: &[u8], served: &[Role]) {
    let mut stream = connection(sent);
    let outcome = block_on(read_dialer(&mut stream, served));
    let (left, answer) = stream.into_inner();
    match outcome {
        Ok(role) => {
            assert!(served.contains(&role) && answer.is_empty());
            assert_eq!(sent.len() - left.len(), 8, "HTTP/2 needs all bytes after the preamble");
            let mut dialer = connection(b"");
            assert!(block_on(dial(&mut dialer, role)).is_err());
            assert_eq!(dialer.into_inner().1, sent[..8], "a dialer of this role sends the same bytes");
        }
        Err(error) => {
            check_error(&error);
            // Another program gets no answer. A dialer of another version or role gets one that it can read.
            if !answer.is_empty() {
                let refused = block_on(dial(&mut connection(&answer), Role::Orchestrator));
                assert!(matches!(refused, Err(PreambleError::Role(_))), "{refused:?}");
            }
        }
    }
}

fn check_dialer(sent: &[u8], role: Role) {
    let mut stream = connection(sent);
    let outcome = block_on(dial(&mut stream, role));
    let (left, dialed) = stream.into_inner();
    assert_eq!(dialed.len(), 8);
    let read = sent.len() - left.len();
    assert!(read <= 8 + 255, "{read} bytes were read");
    match outcome {
        Ok(admission) => {
            assert_eq!(read, 8 + usize::from(sent[7]), "the bytes after the preamble belong to HTTP/2");
            assert!(admission == Admission::Welcome || role == Role::Orchestrator);
        }
        Err(error) => check_error(&error),
    }
}

fn check_place(sent: &[u8]) {
    let mut stream = connection(sent);
    let outcome = block_on(receive_place(&mut stream));
    let (left, replied) = stream.into_inner();
    let read = sent.len() - left.len();
    assert!(read <= 2 + 1024, "{read} bytes were read");
    match outcome {
        Ok(place) => {
            assert_eq!(replied, [1]);
            if let Some(place) = &place {
                assert!(place.place > 0 && place.holder.chars().count() <= 200);
                assert_eq!(clean_line(&place.holder, usize::MAX), place.holder);
            }
            let mut worker = connection(&[1]);
            assert!(block_on(send_place(&mut worker, place.as_ref())).is_ok());
            let again = block_on(receive_place(&mut connection(&worker.into_inner().1)));
            assert_eq!(again.ok(), Some(place), "a place does not change when it is sent again");
        }
        Err(error) => {
            assert!(replied.is_empty());
            check_error(&error);
        }
    }
}

/// Checks the worker's side: it waits for the reply to a notice.
fn check_turn(sent: &[u8]) {
    let mut stream = connection(sent);
    let outcome = block_on(send_place(&mut stream, None));
    let (left, _) = stream.into_inner();
    assert_eq!(outcome.is_ok(), sent.first() == Some(&1));
    assert!(sent.len() - left.len() <= 1, "the bytes after the reply belong to HTTP/2");
}

/// Checks that a dialer shows the reason of a refusal, cut to its maximum length.
fn check_reply(reason: &str) {
    let shown = |max: usize| clean_line(&reason[..reason.floor_char_boundary(max)], max);
    let busy = |holder: Option<HolderId>| PreambleReply::Busy(BusyWorker { text: reason.to_owned(), holder });
    let refused = PreambleReply::Refused(reason.to_owned());
    // The identity of the holder has 16 of the 255 bytes.
    for (verdict, shown) in [(busy(None), shown(255)), (busy(Some(holder())), shown(239)), (refused, shown(255))] {
        let mut sent = Vec::new();
        block_on(reply(&mut sent, &verdict)).expect("writing to memory does not fail");
        match (block_on(dial(&mut connection(&sent), Role::Worker)), &verdict) {
            (Err(PreambleError::Busy(found)), PreambleReply::Busy(worker)) => {
                assert_eq!((found.text, found.holder), (shown, worker.holder));
            }
            (Err(PreambleError::Refused(text)), PreambleReply::Refused(_)) => assert_eq!(text, shown),
            (outcome, verdict) => panic!("{verdict:?} arrives as {outcome:?}"),
        }
    }
}

fn holder() -> HolderId {
    HolderId::of(b"orchestrator")
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |sides: &[u8], sent: &[u8]| {
        seeds.extend(sides.iter().map(|side| [&[*side][..], sent].concat()));
    };
    for role in [Role::Orchestrator, Role::Worker, Role::IdleOrchestrator] {
        let mut dialer = connection(b"");
        // Fails, because no answer follows.
        let _ = block_on(dial(&mut dialer, role));
        add(&[0, 1], &dialer.into_inner().1);
    }
    let texts = ["", "10.0.0.1:8081 since 3 s", "the address is not allowed"];
    let busy = |text: &str, holder: Option<HolderId>| PreambleReply::Busy(BusyWorker { text: text.to_owned(), holder });
    let busy = texts.iter().flat_map(|text| [busy(text, None), busy(text, Some(holder()))]);
    for verdict in [PreambleReply::Welcome, PreambleReply::Queued].into_iter().chain(busy) {
        let mut sent = Vec::new();
        block_on(reply(&mut sent, &verdict)).expect("writing to memory does not fail");
        add(&[2, 3], &sent);
    }
    let place = QueuePlace {
        place: 2,
        holder: "sp1d serve on prover-1".to_owned(),
        holder_id: Some(holder()),
        held: Duration::from_secs(77),
    };
    for place in [Some(&place), None] {
        let mut worker = connection(&[1]);
        block_on(send_place(&mut worker, place)).expect("the reply is in memory");
        add(&[4], &worker.into_inner().1);
    }
    add(&[5], &[1]);
    add(&[6], "Prüfer 七 is busy".as_bytes());
    add(&[6], &b"x".repeat(300));
    seeds
}
