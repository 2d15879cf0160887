//! Runs each target on its seeds, and on simple changes of them. `./x fuzz` continues from there.

use sp1d_fuzz::{CACHE_FILE, CHUNKS, FORM, HOSTED, PREAMBLE, SESSION, WORKER_LIST, check_seeds};

#[test]
fn preamble_holds_for_its_seeds() {
    check_seeds(&PREAMBLE);
}

#[test]
fn session_holds_for_its_seeds() {
    check_seeds(&SESSION);
}

#[test]
fn chunks_hold_for_their_seeds() {
    check_seeds(&CHUNKS);
}

#[test]
fn form_holds_for_its_seeds() {
    check_seeds(&FORM);
}

#[test]
fn hosted_holds_for_its_seeds() {
    check_seeds(&HOSTED);
}

#[test]
fn cache_file_holds_for_its_seeds() {
    check_seeds(&CACHE_FILE);
}

#[test]
fn worker_list_holds_for_its_seeds() {
    check_seeds(&WORKER_LIST);
}
