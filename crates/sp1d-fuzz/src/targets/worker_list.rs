//! The worker list, `distributed.json`.

use crate::harness::{FuzzMemory, FuzzTarget};
use sp1d_orchestrator::{WorkerAddress, WorkerFile};
use std::{collections::BTreeSet, path::Path};

/// The worker list with its settings.
pub const WORKER_LIST: FuzzTarget = FuzzTarget {
    name: "worker-list",
    max_bytes: 16 << 10,
    // A JSON value takes 32 bytes or more for 2 encoded ones, in lists that grow by doubling.
    memory: FuzzMemory { base_bytes: 1 << 20, per_byte: 512 },
    dictionary: &[
        b"\"workers\"",
        b"\"local\"",
        b"\"127.0.0.1:8081\"",
        b"\"[::1]:8081\"",
        b"\"prover-1.example:1\"",
        b"\\u0000",
        b"{\"workers\":[",
        b"\xef\xbb\xbf",
        b"1e999",
    ],
    seeds,
    check,
};

fn check(input: &[u8]) {
    // A file with other bytes cannot be read as a text.
    let Ok(text) = std::str::from_utf8(input) else { return };
    let path = Path::new("distributed.json");
    let file = match WorkerFile::parse(text, path) {
        Ok(file) => file,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("distributed.json"), "{message}");
            return;
        }
    };
    let members = &file.list.0;
    assert!((1..=10_000).contains(&members.len()));
    assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), members.len(), "a worker is in the list twice");
    assert!(!members.iter().any(|worker_address| matches!(worker_address, WorkerAddress::JoinedFrom(_))));
    let written: Vec<String> = members.iter().map(ToString::to_string).collect();
    let mut object = file.settings.clone();
    object.insert("workers".to_owned(), written.into());
    let text = serde_json::to_string(&object).expect("a list can be serialized");
    let again = WorkerFile::parse(&text, path).expect("the text is a list");
    // Numbers in settings may differ in their last digit.
    assert_eq!((&again.list, again.settings.len()), (&file.list, file.settings.len()));
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"["127.0.0.1:8081", "[::1]:8081", "localhost:1", "local"]"#,
        r#"{"workers": ["127.0.0.1:8081", "local"], "shard_batch_size": 1, "verify": "final", "other": [null, true, -1.5e3]}"#,
        "\u{feff}[\"127.0.0.1:8081\", \"127.0.0.1:8081\"]",
        "[\n  \"127.0.0.1:8081\",\n]",
        r#"{"workers": []}"#,
        r#"["127.0.0.1:0", "300.1.1.1:1", "a..b:1", "-a:1"]"#,
        "[[[[[[[[[[",
        "",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
