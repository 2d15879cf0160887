//! Results of earlier times: what a restarted orchestrator need not have proven again.

use crate::{
    controller::{Checked, CheckedMarker, TaskInput, TaskSpec},
    proof::ProofHandle,
};
use artifacts::{Blob, Digest, Stored};

/// What is known of a task that was done before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// Content of the task's first output.
    pub output: Vec<u8>,
    /// What was delivered for its marker, by name: further outputs as `#1`, `#2` and so on, as each proof calls them
    /// otherwise.
    pub delivered: Vec<(String, Vec<u8>)>,
}

/// Keeps results by the digest of what they were made of. Its methods are called on threads that may block.
///
/// What it gives back is checked as a worker's result is. One that is remembered wrongly costs a check, and no proof.
pub trait Memo: Send + Sync + 'static {
    /// The result under `key`, if it is there and can be read.
    fn find(&self, key: Digest) -> Option<Remembered>;

    /// Keeps a result. Whether that succeeds is the memo's own business.
    fn keep(&self, key: Digest, result: Remembered);

    /// False when nothing is ever kept: then nothing need be done for its sake.
    fn keeps(&self) -> bool {
        true
    }

    /// Forgets results that were of no use: something built on them came out wrong.
    fn forget(&self, keys: &[Digest]);
}

/// How the further output at `position` is called in what is remembered.
fn output_name(position: usize) -> String {
    format!("#{position}")
}

/// What an attempt delivered for its marker, until its result counts.
pub(crate) type Delivered = Vec<(String, Stored)>;

/// What to remember of a task of `spec`. `None` when a part of it, which was spilled, cannot be read back. Blocks.
pub(crate) fn remembered(spec: &TaskSpec, output: Stored, delivered: Delivered) -> Option<Remembered> {
    let read = |stored: Stored| stored.load().ok()?.decode().ok();
    let renamed = |name: String| match spec.outputs.iter().position(|output| *output == name) {
        Some(position) => output_name(position),
        None => name,
    };
    let delivered = delivered.into_iter().map(|(name, stored)| Some((renamed(name), read(stored)?)));
    Some(Remembered { output: read(output)?, delivered: delivered.collect::<Option<_>>()? })
}

/// Takes `found` for the result of `spec`: its artifacts become those of `proof`, and the task's own inputs go. Blocks.
///
/// # Errors
/// What is wrong with it; nothing of it is kept.
pub(crate) fn recall(proof: &ProofHandle, spec: &TaskSpec, found: Remembered) -> Result<(), String> {
    let Remembered { output, delivered } = found;
    let named = |name: String| match name.strip_prefix('#').map(str::parse::<usize>) {
        Some(Ok(position)) => spec.outputs.get(position).cloned().ok_or(format!("the task has no output {position}")),
        Some(Err(_)) | None => Ok(name),
    };
    let named = delivered.into_iter().map(|(name, content)| Ok((named(name)?, Blob::encode(&content))));
    let delivered = named.collect::<Result<Vec<(String, Blob)>, String>>()?;
    if spec.marker.is_some() {
        let missing = |name: &&String| !delivered.iter().any(|(found, _)| found == *name);
        if let Some(name) = spec.outputs.iter().skip(1).find(missing) {
            return Err(format!("{name} is missing"));
        }
        let find = |name: &str| delivered.iter().find(|(found, _)| found == name).map(|(_, blob)| blob.clone());
        proof.state.check_marker(CheckedMarker { proof, spec, delivered: &find })?;
    }
    let kept = Blob::encode(&output);
    proof.state.check(Checked { proof, spec, output })?;
    for (name, blob) in delivered {
        proof.put_now(&name, blob).map_err(|error| error.to_string())?;
    }
    if let Some(name) = spec.outputs.first() {
        proof.put_now(name, kept).map_err(|error| error.to_string())?;
    }
    for input in &spec.inputs {
        if let TaskInput::Artifact { name, shared: false } = input {
            proof.remove(name);
        }
    }
    Ok(())
}
