//! Arguments about the workers of an orchestrator.

use clap::Args;
use sp1d_orchestrator::{Placement, default_spill_folder};
use std::path::PathBuf;

/// Settings that can be given as flags. They take precedence over environment variables and the worker list's file.
#[derive(Debug, Args)]
pub(crate) struct PoolArguments {
    /// Worker list: a file with a JSON array of addresses, where "local" means this process, or with an object that
    /// contains such an array as "workers" [env: SP1_DISTRIBUTED_WORKERS] [default: distributed.json].
    #[arg(long, value_name = "FILE")]
    pub(crate) workers: Option<PathBuf>,
    /// Tasks (usually shards) that a worker may hold at the same time for each of its provers, 1 to 128. Use 1 for the
    /// least memory [env: SHARD_BATCH_SIZE] [default: 2].
    #[arg(long, value_name = "N")]
    pub(crate) shard_batch_size: Option<u32>,
    /// `spread` assigns tasks to all workers. `pack` assigns them to as few workers as finish about equally early [env:
    /// SP1_DISTRIBUTED_PLACEMENT] [default: spread].
    #[arg(long, value_name = "POLICY")]
    pub(crate) placement: Option<Placement>,
    /// Identity of this orchestrator: a file that `sp1d keys` has written, or a folder with `tls.key`, `tls.crt` and
    /// `ca.crt`. With it, connections to workers use TLS. The HTTP ports of `sp1d serve` then use HTTPS, except on the
    /// loopback interface [env: SP1_DISTRIBUTED_TLS] [default: no TLS].
    #[arg(long, value_name = "PATH")]
    pub(crate) tls: Option<PathBuf>,
    /// Give tasks only to trusted workers: those with a certificate of `sp1d keys issue --trusted`, and "local" [env:
    /// SP1_DISTRIBUTED_TRUSTED_ONLY] [default: to all workers].
    #[arg(long)]
    pub(crate) trusted_only: bool,
    /// No argument: read here because `prepare` changes `TMPDIR` later.
    #[arg(skip = default_spill_folder())]
    pub(crate) default_spill_folder: PathBuf,
}
