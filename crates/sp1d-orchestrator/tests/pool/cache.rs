//! Cached results.

use super::*;

/// A result cache in memory.
#[derive(Default)]
struct CacheInMemory(Mutex<BTreeMap<String, CachedResult>>);

impl ResultCache for CacheInMemory {
    fn find(&self, key: Digest) -> Option<CachedResult> {
        self.0.lock().unwrap().get(&key.to_string()).cloned()
    }

    fn keep(&self, key: Digest, result: CachedResult) {
        self.0.lock().unwrap().insert(key.to_string(), result);
    }

    fn forget(&self, keys: &[Digest]) {
        keys.iter().for_each(|key| _ = self.0.lock().unwrap().remove(&key.to_string()));
    }
}

const WRONG: &[u8] = b"events of another";

/// Proves three shards and one shard of all their events. Returns the number of restarts and of cached results that
/// were used.
async fn prove_with_cache(cache: &Arc<CacheInMemory>, worker: &RunningWorker) -> (usize, usize) {
    prove_in_scope(cache, worker, "").await
}

/// The same with the results of one scope of the cache.
async fn prove_in_scope(cache: &Arc<CacheInMemory>, worker: &RunningWorker, scope: &str) -> (usize, usize) {
    let orchestrator = Orchestrator::start(settings(), None, Some(cache.clone()));
    orchestrator.set_list(&list(&[worker.address]));
    let runner = FakeRunner { precompiles: true, ..FakeRunner::default() };
    let (progress, mut events) = broadcast::channel(1024);
    let request = ProofRequest { cache_scope: scope.to_owned(), ..request(3) };
    let proven = orchestrator.prove(request, Arc::new(runner), progress, CancellationToken::new()).await;
    assert_eq!(proven.unwrap().output.proof, expected(3));
    orchestrator.shutdown().await;
    let (mut restarts, mut cached) = (0, 0);
    while let Ok(event) = events.try_recv() {
        restarts += usize::from(matches!(event, ProofEvent::Restarted { .. }));
        cached += usize::from(matches!(event, ProofEvent::CachedResult { .. }));
    }
    (restarts, cached)
}

#[tokio::test]
async fn cached_results_are_reused_and_wrong_ones_forgotten() {
    let engine = FakeEngine::doing(|assignment, io| async move {
        let inputs = fetch_inputs(&assignment, &*io).await?;
        if inputs.contains(WRONG) {
            return Err(AttemptError {
                kind: sp1d_protocol::FailureKind::Engine,
                text: "the deferred events are wrong".into(),
            });
        }
        do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let cache = Arc::new(CacheInMemory::default());
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 0));
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 3));

    // A cached result that does not verify is detected and not used.
    cache.0.lock().unwrap().values_mut().next().unwrap().output = Blob::encode(b"another result");
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 2));

    // Wrong cached deferred events are detected when a shard is made from them.
    for result in cache.0.lock().unwrap().values_mut() {
        result
            .event_uploads
            .iter_mut()
            .filter(|(name, _)| name.starts_with("made-"))
            .for_each(|(_, events)| *events = Blob::encode(WRONG));
    }
    assert_eq!(prove_with_cache(&cache, &worker).await, (1, 3));
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 3));
}

#[tokio::test]
async fn results_of_another_scope_are_proven_again() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let cache = Arc::new(CacheInMemory::default());
    assert_eq!(prove_in_scope(&cache, &worker, "a").await, (0, 0));
    assert_eq!(prove_in_scope(&cache, &worker, "b").await, (0, 0));
    assert_eq!(prove_in_scope(&cache, &worker, "").await, (0, 0));
    assert_eq!(prove_in_scope(&cache, &worker, "a").await, (0, 3));
}

#[tokio::test]
async fn a_cached_result_that_cannot_be_stored_leaves_nothing_behind() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let cache = Arc::new(CacheInMemory::default());
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 0));
    {
        let mut results = cache.0.lock().unwrap();
        // The next proof makes this result again, in its first attempt. Choose a result of another attempt, so that the
        // names of its artifacts differ.
        let is_other =
            |result: &&mut CachedResult| !result.event_uploads.iter().any(|(name, _)| name == "made-a1-events");
        let result = results.values_mut().find(is_other).unwrap();
        // The list of deferred events, `#1`, is stored first. It names an artifact that the proof already has.
        let uploads = [("#1", &b"program"[..]), ("program", &b"another"[..])];
        result.event_uploads = uploads.map(|(name, content)| (name.to_owned(), Blob::encode(content))).into();
    }
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 2));
}

/// Proves with a cache whose first result is changed by `change`, and checks that this result is not used.
async fn check_unused(change: impl FnOnce(&mut CachedResult)) {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let cache = Arc::new(CacheInMemory::default());
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 0));
    change(cache.0.lock().unwrap().values_mut().next().unwrap());
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 2));
}

#[tokio::test]
async fn a_cached_result_with_an_undeclared_artifact_is_not_used() {
    let undeclared = ("made-a1-undeclared".to_owned(), Blob::encode(b"undeclared"));
    check_unused(|result| result.event_uploads.push(undeclared)).await;
}

#[tokio::test]
async fn a_cached_result_that_is_too_large_is_not_decoded() {
    check_unused(|result| result.output = Blob::encode(&vec![0; (64 << 20) + 1])).await;
}

#[tokio::test]
async fn undeclared_artifacts_of_a_worker_are_neither_used_nor_cached() {
    let engine = FakeEngine::doing(|assignment, io| async move {
        if assignment.payload.marker().is_some() {
            let undeclared = format!("made-{}-undeclared", assignment.attempt);
            io.deliver(&undeclared, vec![0; 1 << 20]).await.unwrap();
        }
        do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let cache = Arc::new(CacheInMemory::default());
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 0));
    let results = cache.0.lock().unwrap();
    assert_eq!(results.len(), 3);
    for result in results.values() {
        let mut names: Vec<&str> = result.event_uploads.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert!(names.len() == 2 && names[0] == "#1" && names[1].ends_with("-events"), "{names:?}");
    }
}
