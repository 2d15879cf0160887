//! Tests of the time that a whole call may take.

use sp1d_orchestrator::{ExpectedExit, ProofFailure, ProofMode, ProofRequest, WorkerList};
use sp1d_roles::CallDeadline;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn request() -> ProofRequest {
    ProofRequest {
        elf: Vec::new().into(),
        stdin: Vec::new().into(),
        mode: ProofMode::Core,
        cycle_limit: None,
        gas_limit: None,
        expected_exit: ExpectedExit::Success,
        check_input_proofs: true,
        trusted_only: false,
        nonce: [0; 4],
        options: String::new(),
        timeout: Some(MINUTE),
        cache_scope: String::new(),
        share_group: 0,
        label: String::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_timeout_and_says_what_it_waited_for() {
    let deadline = CallDeadline::start(Some(MINUTE));
    let outcome = deadline.bound(|| "the first worker of a:1".to_owned(), std::future::pending::<()>()).await;
    let failure = outcome.unwrap_err();
    let text = failure.to_string();
    assert!(matches!(failure, ProofFailure::LateStart { .. }), "{text}");
    for part in ["timeout of 60 s", "waited for the first worker of a:1", "\nhint: ", "--timeout"] {
        assert!(text.contains(part), "{text:?} does not contain {part:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_proof_gets_the_rest_of_the_time() {
    let deadline = CallDeadline::start(Some(MINUTE));
    let wait = tokio::time::sleep(Duration::from_secs(45));
    deadline.bound(String::new, wait).await.expect("the wait is shorter than the timeout");
    let mut request = request();
    deadline.limit(&mut request);
    let rest = request.timeout.expect("the request has a timeout");
    assert!(rest <= Duration::from_secs(15) && rest > Duration::from_secs(14), "{rest:?}");
    // The error names the timeout of the user.
    assert_eq!(deadline.restated(ProofFailure::Timeout(rest)), ProofFailure::Timeout(MINUTE));
    assert_eq!(deadline.restated(ProofFailure::Cancelled), ProofFailure::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_nothing_is_limited() {
    for timeout in [None, Some(Duration::MAX)] {
        let deadline = CallDeadline::start(timeout);
        let wait = tokio::time::sleep(100 * MINUTE);
        deadline.bound(String::new, wait).await.expect("the wait is not limited");
        let mut request = request();
        deadline.limit(&mut request);
        assert_eq!(request.timeout, Some(MINUTE));
    }
}

#[test]
fn an_error_names_a_few_workers() {
    let list = ["a:1", "b:2", "c:3", "d:4", "e:5"];
    let list = WorkerList(list.iter().map(|entry| entry.parse().unwrap()).collect());
    assert_eq!(CallDeadline::first_worker(&list), "the first worker of a:1, b:2, c:3 and 2 more");
}
