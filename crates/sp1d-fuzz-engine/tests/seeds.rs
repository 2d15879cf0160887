//! Runs each target on its seeds, and on simple changes of them. `./x fuzz` continues from there.

use sp1d_fuzz::check_seeds;
use sp1d_fuzz_engine::{ELF, EVENTS, RESULT, STDIN};

#[test]
fn elf_holds_for_its_seeds() {
    check_seeds(&ELF);
}

#[test]
fn stdin_holds_for_its_seeds() {
    check_seeds(&STDIN);
}

#[test]
fn events_hold_for_their_seeds() {
    check_seeds(&EVENTS);
}

#[test]
fn result_holds_for_its_seeds() {
    check_seeds(&RESULT);
}
