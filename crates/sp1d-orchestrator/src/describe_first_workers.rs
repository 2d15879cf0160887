//! Bounds the texts that name workers. A pool may have thousands of them.

/// Maximum number of workers that an error or a log line names.
const MAX_NAMED_WORKERS: usize = 10;

/// Describes the first 10 `workers`. If there are more, the last text is their number.
pub(crate) fn describe_first_workers<T>(
    mut workers: impl Iterator<Item = T>,
    describe: impl Fn(T) -> String,
) -> Vec<String> {
    let mut texts: Vec<String> = workers.by_ref().take(MAX_NAMED_WORKERS).map(describe).collect();
    let others = workers.count();
    if others > 0 {
        texts.push(format!("and {others} more"));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(count: usize, last: &str) {
        let texts = describe_first_workers(1..=count, |number| format!("worker {number}"));
        assert_eq!(texts.len(), count.min(MAX_NAMED_WORKERS + 1));
        assert_eq!(texts.last().unwrap(), last);
    }

    #[test]
    fn only_the_first_workers_are_described() {
        check(1, "worker 1");
        check(10, "worker 10");
        check(11, "and 1 more");
        check(4096, "and 4086 more");
        assert!(describe_first_workers(0..0, |number| format!("worker {number}")).is_empty());
    }
}
