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
    let orchestrator = Orchestrator::start(settings(), None, Some(cache.clone()));
    orchestrator.set_list(&list(&[worker.address]));
    let runner = FakeRunner { precompiles: true, ..FakeRunner::default() };
    let (progress, mut events) = broadcast::channel(1024);
    let proven = orchestrator.prove(request(3), Arc::new(runner), progress, CancellationToken::new()).await;
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
    cache.0.lock().unwrap().values_mut().next().unwrap().output.push(1);
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 2));

    // Wrong cached deferred events are detected when a shard is made from them.
    for result in cache.0.lock().unwrap().values_mut() {
        result
            .marker_uploads
            .iter_mut()
            .filter(|(name, _)| name.starts_with("made-"))
            .for_each(|(_, events)| *events = WRONG.to_vec());
    }
    assert_eq!(prove_with_cache(&cache, &worker).await, (1, 3));
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 3));
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
            |result: &&mut CachedResult| !result.marker_uploads.iter().any(|(name, _)| name == "made-a1-events");
        let result = results.values_mut().find(is_other).unwrap();
        // The list of deferred events, `#1`, is stored first. The proof already has an artifact `program`.
        result.marker_uploads.sort();
        result.marker_uploads.insert(1, ("program".to_owned(), b"another".to_vec()));
    }
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 2));
}
