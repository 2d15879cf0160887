//! Scheduler events per second, by number of workers.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scheduler_bench::{EVENTS_PER_STEP, Pool};

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Elements(EVENTS_PER_STEP));
    // The queue has the same length in all cases, so only the number of workers differs. The documented figures refer
    // to this pool.
    for workers in [10, 100, 1_000, 10_000] {
        let mut pool = Pool::new(workers, 100_000);
        group.bench_function(BenchmarkId::new("workers", workers), |bencher| bencher.iter(|| pool.step()));
        assert!(pool.queued() >= 90_000, "the queue is shorter than 90,000 tasks, so the cases cannot be compared");
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
