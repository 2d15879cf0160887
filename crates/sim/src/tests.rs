//! Whole worlds.

use crate::{MARKS, Report, driver::Sabotage, run, run::run_with};
use std::{cell::RefCell, rc::Rc};

#[test]
fn two_hundred_seeds_keep_every_promise_and_lead_everywhere() {
    let mut all = Report::default();
    for seed in 0..200 {
        match run(seed, None) {
            Ok(report) => all.add(report),
            Err(broken) => panic!("{broken}"),
        }
    }
    assert!(all.faults_struck() > 20 * all.seeds, "{all}");
    let unseen: Vec<_> = MARKS.iter().filter(|mark| !all.marks.contains_key(*mark)).collect();
    assert!(unseen.is_empty(), "never happened: {unseen:?}\n{all}");
    // Proofs may fail by bad luck, as each failure and loss counts; were it the rule, the worlds would show little.
    let unlucky = all.failed - all.failed_of_poison;
    assert!(unlucky * 5 < all.complete, "{all}");
}

#[test]
fn a_seed_gives_the_same_run_again_and_another_another() {
    let digest = |seed| run(seed, None).expect("nothing is wrong").digest;
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
}

#[test]
fn to_be_watched_changes_nothing() {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = lines.clone();
    let watched = run(5, Some(Box::new(move |line: &str| heard.borrow_mut().push(line.to_owned()))));
    assert_eq!(watched, run(5, None));
    let lines = lines.borrow();
    assert!(lines[0].contains("seed 5: "), "{}", lines[0]);
    assert!(lines.iter().any(|line| line.contains("nothing breaks any more")));
    assert!(lines.iter().any(|line| line.contains("→ AcceptResult")));
}

/// The first of a few seeds that notices.
fn noticed(sabotage: Sabotage) -> String {
    let broken = (0..40).find_map(|seed| run_with(seed, None, sabotage).err());
    broken.expect("somebody notices").to_string()
}

#[test]
fn a_checker_that_finds_everything_right_is_noticed() {
    let text = noticed(Sabotage { blind: true, ..Sabotage::default() });
    assert!(text.contains("a finished proof has every task once, and right"), "{text}");
    assert!(text.contains("./x sim --seed "), "{text}");
}

#[test]
fn a_checker_that_never_answers_is_noticed() {
    let text = noticed(Sabotage { mute: true, ..Sabotage::default() });
    assert!(text.contains("every proof ends when nothing breaks any more"), "{text}");
}
