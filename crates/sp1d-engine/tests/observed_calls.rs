//! Runs a real program that verifies proofs, without proving it.

use slop_algebra::{AbstractField, PrimeField32};
use sp1_core_executor::{Program, SP1Context, SP1CoreOpts};
use sp1_core_machine::io::SP1Stdin;
use sp1_primitives::{SP1Field, hash_deferred_proof, io::SP1PublicValues};
use sp1d_engine::{ProofCalls, ProofIdentity, ProofRunnerSettings, Sp1ProofRunner, execute_on, observe_proof_calls};
use sp1d_orchestrator::ProofFailure;
use tokio_util::sync::CancellationToken;

/// Returns the program `aggregate`.
fn aggregate() -> Vec<u8> {
    std::fs::read(format!("{}/../../guests/elf/aggregate", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Returns the input of `aggregate` for proofs with these keys and public values.
fn input(proofs: &[([u32; 8], Vec<u8>)]) -> SP1Stdin {
    let mut stdin = SP1Stdin::new();
    stdin.write(&u32::try_from(proofs.len()).unwrap());
    for (key, values) in proofs {
        stdin.write(key);
        stdin.write(values);
    }
    stdin
}

/// Runs `aggregate` on proofs with these keys and public values.
async fn observe(
    proofs: &[([u32; 8], Vec<u8>)],
    cycle_limit: Option<u64>,
    stop: &CancellationToken,
) -> Result<Option<ProofCalls>, ProofFailure> {
    let program = Program::from(aggregate().as_slice()).unwrap();
    observe_proof_calls(program, input(proofs).buffer, &SP1CoreOpts::default(), cycle_limit, stop).await
}

/// Returns SP1's digest of a list of proofs.
fn digest(proofs: &[ProofIdentity]) -> [u32; 8] {
    let digest = proofs.iter().fold([SP1Field::zero(); 8], |digest, proof| {
        let (key, values) =
            (proof.key.map(SP1Field::from_canonical_u32), proof.values.map(SP1Field::from_canonical_u8));
        hash_deferred_proof(&digest, &key, &values)
    });
    digest.map(|word| word.as_canonical_u32())
}

/// Checks that the verified proofs and their digest are observed.
async fn check(proofs: &[([u32; 8], Vec<u8>)]) {
    let expected: Vec<ProofIdentity> = proofs
        .iter()
        .map(|(key, values)| {
            let values = SP1PublicValues::from(values).hash().try_into().unwrap();
            ProofIdentity { key: *key, values }
        })
        .collect();
    let calls = observe(proofs, None, &CancellationToken::new()).await.unwrap().expect("the program ends well");
    let verified: Vec<_> = expected.iter().copied().map(Some).collect();
    assert_eq!((calls.total(), calls.verified()), (proofs.len() as u64, verified.as_slice()));
    assert_eq!(calls.digest(), digest(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proofs_that_a_program_verifies_are_observed_in_order() {
    check(&[]).await;
    check(&[([7, 6, 5, 4, 3, 2, 1, 0], vec![1, 2, 3]), ([1; 8], vec![9; 1000])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_run_stops_at_its_cycle_limit_and_on_request() {
    let never = CancellationToken::new();
    assert!(observe(&[], Some(10), &never).await.unwrap().is_none(), "the run exceeds its limit");
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = observe(&[], None, &stop).await;
    assert_eq!(stopped.err(), Some(ProofFailure::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_run_may_use_exactly_its_cycle_limit() {
    let settings = ProofRunnerSettings { key_folder: None, ..ProofRunnerSettings::default() };
    let runner = Sp1ProofRunner::new(settings).await;
    let context = SP1Context::builder().build();
    let (_, report) = execute_on(runner.light().inner(), &aggregate(), input(&[]), context).await.unwrap();
    let (cycles, never) = (report.total_instruction_count(), CancellationToken::new());
    assert!(observe(&[], Some(cycles), &never).await.unwrap().is_some(), "the run has exactly {cycles} cycles");
    assert!(observe(&[], Some(cycles - 1), &never).await.unwrap().is_none(), "the run exceeds its limit");
}
