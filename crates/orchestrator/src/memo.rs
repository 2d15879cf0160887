//! The result cache: results of finished tasks that a restarted orchestrator need not prove again.

use crate::{
    controller::{Checked, CheckedMarker, TaskInput, TaskSpec},
    proof::ProofHandle,
    shared::proof_scope,
    text::one_line,
};
use artifacts::{Blob, Digest, Stored};

/// A cached result of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// Content of the task's first output.
    pub output: Vec<u8>,
    /// Artifacts delivered for its marker, by name. The further outputs of the task are named `#1`, `#2` and so on,
    /// because their names differ from proof to proof.
    pub delivered: Vec<(String, Vec<u8>)>,
}

/// A result cache: stores results by the digest of everything on which they depend. Its methods are called on threads
/// that may block.
///
/// A cached result is checked like a result of a worker. A wrong one costs a check, but it does not fail the proof.
pub trait Memo: Send + Sync + 'static {
    /// Returns the result under `key`; `None` if it does not exist or cannot be read.
    fn find(&self, key: Digest) -> Option<Remembered>;

    /// Stores a result. The caller does not need to know whether this succeeds.
    fn keep(&self, key: Digest, result: Remembered);

    /// Returns false if the cache never stores a result, so that callers can skip work that only serves it.
    fn keeps(&self) -> bool {
        true
    }

    /// Removes results, because something that was built on them turned out to be wrong.
    fn forget(&self, keys: &[Digest]);
}

/// Returns the name of the output at `position` in a cached result.
fn output_name(position: usize) -> String {
    format!("#{position}")
}

/// Artifacts that an attempt delivered for its marker, held until its result is accepted.
pub(crate) type Delivered = Vec<(String, Stored)>;

/// Returns the cached form of the result of `spec`. `None` if a part was spilled and cannot be read back. Blocks.
pub(crate) fn remembered(spec: &TaskSpec, output: Stored, delivered: Delivered) -> Option<Remembered> {
    let read = |stored: Stored| stored.load().ok()?.decode().ok();
    let renamed = |name: String| match spec.outputs.iter().position(|output| *output == name) {
        Some(position) => output_name(position),
        None => name,
    };
    let delivered = delivered.into_iter().map(|(name, stored)| Some((renamed(name), read(stored)?)));
    Some(Remembered { output: read(output)?, delivered: delivered.collect::<Option<_>>()? })
}

/// Uses `found` as the result of `spec`: its artifacts become artifacts of `proof`, and the inputs that only this task
/// uses are removed. Blocks.
///
/// # Errors
/// Returns what is wrong with `found`, or why it cannot be stored. Nothing is stored then.
pub(crate) fn recall(proof: &ProofHandle, spec: &TaskSpec, found: Remembered) -> Result<(), String> {
    let Remembered { output, delivered } = found;
    let named = |name: String| match name.strip_prefix('#').map(str::parse::<usize>) {
        Some(Ok(position)) => {
            spec.outputs.get(position).cloned().ok_or(format!("the task has no output number {position}"))
        }
        Some(Err(_)) | None => Ok(name),
    };
    let named = delivered.into_iter().map(|(name, content)| Ok((named(name)?, Blob::encode(&content))));
    let delivered = named.collect::<Result<Vec<(String, Blob)>, String>>()?;
    if spec.marker.is_some() {
        let missing = |name: &&String| !delivered.iter().any(|(found, _)| found == *name);
        if let Some(name) = spec.outputs.iter().skip(1).find(missing) {
            return Err(format!("output {name} is missing"));
        }
        let find = |name: &str| delivered.iter().find(|(found, _)| found == name).map(|(_, blob)| blob.clone());
        proof.state.check_marker(CheckedMarker { proof, spec, delivered: &find })?;
    }
    let kept = Blob::encode(&output);
    proof.state.check(Checked { proof, spec, output })?;
    let result = spec.outputs.first().map(|name| (name.clone(), kept));
    let mut added: Vec<String> = Vec::new();
    for (name, blob) in delivered.into_iter().chain(result) {
        let is_new = !proof.exists(&name);
        if let Err(error) = proof.put_now(&name, blob) {
            // A worker will deliver artifacts with these names, perhaps with different content.
            for name in &added {
                proof.shared.store.remove(proof_scope(proof.state.id), name);
            }
            return Err(one_line(&error.to_string()));
        }
        if is_new {
            added.push(name);
        }
    }
    for input in &spec.inputs {
        if let TaskInput::Artifact { name, shared: false } = input {
            proof.remove(name);
        }
    }
    Ok(())
}
