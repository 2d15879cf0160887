//! Checks of inputs.

use sp1_core_machine::io::SP1Stdin;
use sp1d_engine::{UnreadInput, check_input};
use sp1d_orchestrator::ProofFailure;
use std::io::{self, Read};

/// Checks that an input is valid, or that its error contains `expected`.
#[track_caller]
fn check(mut input: &[u8], expected: Option<&str>) {
    match (check_input(&mut input), expected) {
        (Ok(()), None) => {}
        (Err(ProofFailure::Request(text)), Some(expected)) if text.contains(expected) => {}
        (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
    }
}

fn serialized(change: impl FnOnce(&mut SP1Stdin)) -> Vec<u8> {
    let mut stdin = SP1Stdin::new();
    change(&mut stdin);
    bincode::serialize(&stdin).unwrap()
}

#[test]
fn inputs_as_sp1_writes_them_are_valid() {
    check(&serialized(|_| {}), None);
    check(&serialized(|stdin| stdin.write(&7u32)), None);
    check(&serialized(|stdin| (0..1000).for_each(|length| stdin.write_vec(vec![1; length]))), None);
}

#[test]
fn shortened_inputs_are_not_valid() {
    let whole = serialized(|stdin| stdin.write_slice(b"some bytes"));
    for length in 0..whole.len() {
        check(&whole[..length], Some("it ends too early"));
    }
}

#[test]
fn bytes_after_an_input_are_counted() {
    let whole = serialized(|stdin| stdin.write_slice(b"some bytes"));
    check(&[whole.as_slice(), b"x"].concat(), Some("1 byte too many at its end"));
    check(&[whole.as_slice(), &whole].concat(), Some(&format!("{} bytes too many at its end", whole.len())));
}

#[test]
fn claimed_lengths_reserve_no_memory() {
    let number = |number: u64| number.to_le_bytes();
    check(&[number(1), number(u64::MAX)].concat(), Some("it ends too early"));
    check(&[number(0), number(0), number(u64::MAX)].concat(), Some("it ends too early"));
    // A proof starts with vectors, whose lengths are claimed too.
    check(&[[0; 8], [0; 8], number(1), [0xff; 8], [0xff; 8], [0xff; 8]].concat(), Some("not a serialized SP1Stdin"));
}

#[test]
fn only_values_that_were_certainly_not_read_are_reported() {
    let text = |reads, values| UnreadInput::after(reads, values).map(|input| input.to_string());
    assert_eq!(text(0, 0), None);
    assert_eq!(text(2, 2), None);
    // A program also reads values that it makes for itself.
    assert_eq!(text(5, 2), None);
    assert_eq!(text(0, 1).as_deref(), Some("the program did not read 1 of 1 input value"));
    assert_eq!(text(1, 3).as_deref(), Some("the program did not read 2 of 3 input values"));
}

/// The smallest values, without end.
struct SmallValues(u64);

impl Read for SmallValues {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 += buffer.len() as u64;
        buffer.fill(0);
        Ok(buffer.len())
    }
}

#[test]
fn input_with_too_many_values_is_refused_before_they_are_read() {
    let count = (80_000_000_u64).to_le_bytes();
    let mut values = SmallValues(0);
    let outcome = check_input(&mut (&count[..]).chain(&mut values));
    let Err(ProofFailure::Request(text)) = outcome else { panic!("{outcome:?}") };
    assert!(text.contains("80000000 values"), "{text}");
    assert!(values.0 <= 1 << 20, "{} bytes were read", values.0);
}
