//! Events a second, by the size of the pool.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scheduler_bench::{EVENTS_PER_STEP, Pool};

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(EVENTS_PER_STEP));
    // One size of queue, so that the number of workers alone differs; and the pool that the figures are promised for.
    for workers in [10, 100, 1_000, 10_000] {
        let mut pool = Pool::new(workers, 100_000);
        group.bench_function(BenchmarkId::new("workers", workers), |bencher| bencher.iter(|| pool.step()));
        assert!(pool.queued() >= 90_000, "the queue ran dry");
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
