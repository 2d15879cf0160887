//! Tests of the lists of open tasks. The service's tests check their content.

use sp1d_orchestrator::{OpenTasks, Orchestrator, OrchestratorSettings, ProofFailure};
use sp1d_scheduler::TaskId;
use sp1d_testing::{FakeRunner, fake_build};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn open_tasks_are_listed_while_the_proof_runs_and_the_orchestrator_lives() {
    let orchestrator = Orchestrator::start(OrchestratorSettings::new(fake_build()), None, None);
    let ask = async |limit: usize| orchestrator.open_tasks("try-1", TaskId(0), limit).await;
    assert_eq!(ask(2).await, Some(OpenTasks::default()));
    let (progress, _) = broadcast::channel(64);
    let cancel = CancellationToken::new();
    let runner = Arc::new(FakeRunner::default());
    let proving = orchestrator.prove(sp1d_testing::request(3, PATIENCE), runner, progress, cancel.clone());
    let asking = async {
        let deadline = Instant::now() + PATIENCE;
        let open = loop {
            let open = ask(2).await.unwrap();
            if open.count == 3 {
                break open;
            }
            assert!(Instant::now() < deadline, "{open:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!((open.waiting_tasks(), open.tasks.len()), (3, 2));
        assert_eq!(ask(usize::MAX).await.unwrap().tasks.len(), 3);
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(proving, asking);
    assert!(matches!(outcome, Err(ProofFailure::Cancelled)));
    assert_eq!(ask(2).await, Some(OpenTasks::default()));
    orchestrator.end().await;
    assert_eq!(ask(2).await, None);
}
