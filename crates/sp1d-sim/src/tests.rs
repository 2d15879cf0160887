//! Tests that run whole worlds.

use crate::{MARKS, SimReport, driver::Sabotage, run, run::run_with};
use std::{cell::RefCell, rc::Rc};

#[test]
fn two_hundred_seeds_keep_all_invariants_and_reach_all_marks() {
    let mut all = SimReport::default();
    for seed in 0..200 {
        match run(seed, None) {
            Ok(report) => all.add(report),
            Err(broken) => panic!("{broken}"),
        }
    }
    assert!(all.faults_struck() > 20 * all.seeds, "{all}");
    let unseen: Vec<_> = MARKS.iter().filter(|mark| !all.marks.contains_key(*mark)).collect();
    assert!(unseen.is_empty(), "these situations never occurred: {unseen:?}\n{all}");
    // Proofs may fail by bad luck, because every failure and loss counts. Worlds with mostly failed proofs test little.
    let unlucky = all.failed - all.failed_of_poison;
    assert!(unlucky * 5 < all.complete, "{all}");
}

#[test]
fn the_same_seed_repeats_a_run_and_another_does_not() {
    let digest = |seed| run(seed, None).expect("the seed breaks no invariant").digest;
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
}

#[test]
fn tracing_does_not_change_a_run() {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let heard = lines.clone();
    let watched = run(5, Some(Box::new(move |line: &str| heard.borrow_mut().push(line.to_owned()))));
    assert_eq!(watched, run(5, None));
    let lines = lines.borrow();
    assert!(lines[0].contains("seed 5: "), "{}", lines[0]);
    assert!(lines.iter().any(|line| line.contains("no more faults strike")));
    assert!(lines.iter().any(|line| line.contains("→ AcceptResult")));
}

/// Returns the first violation found in a few seeds.
fn noticed(sabotage: Sabotage) -> String {
    let broken = (0..40).find_map(|seed| run_with(seed, None, sabotage).err());
    broken.expect("an invariant detects the sabotage").to_string()
}

#[test]
fn a_verifier_that_accepts_every_result_is_detected() {
    let text = noticed(Sabotage { blind: true, ..Sabotage::default() });
    assert!(text.contains("a finished proof has exactly one correct result of every task"), "{text}");
    assert!(text.contains("./x sim --seed "), "{text}");
}

#[test]
fn a_check_that_accepts_all_claims_is_detected() {
    let text = noticed(Sabotage { trusting: true, ..Sabotage::default() });
    assert!(text.contains("a wrong marker is never completed"), "{text}");
}

#[test]
fn a_verifier_that_never_responds_is_detected() {
    let text = noticed(Sabotage { mute: true, ..Sabotage::default() });
    assert!(text.contains("every proof ends once no more faults strike"), "{text}");
}
