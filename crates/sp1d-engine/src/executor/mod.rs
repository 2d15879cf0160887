//! Executes programs with SP1's executor: checks the machine, supervises the child processes, and explains failures.
//!
//! Knows nothing about tasks and workers.

mod child_limits;
mod child_use;
mod child_watch;
mod control_group;
mod execution_bound;
mod executor_error;
mod failures;
mod gas_bound;
mod helper;
mod leftovers;
mod line_limit;
mod machine_check;
mod private_folder;
mod processes;
mod resources;
mod run;
mod segments;
mod shared_memory;
mod shared_memory_share;
mod supervisor;
mod traced_run;

pub(crate) use child_limits::LIMITS as CHILD_LIMITS;
pub(crate) use child_limits::memory_with_margin;
pub(crate) use child_use::LIMITS as CHILD_OUTPUT_LIMITS;
pub(crate) use execution_bound::ExecutionBound;
pub(crate) use failures::{
    LIMITS as OUTPUT_LIMITS, execution_failure, is_unexplained, killed_from_outside, program_failure, ran_away,
};
pub(crate) use gas_bound::GasBound;
pub use leftovers::{Leftovers, kill_executions, remove_leftovers};
pub use line_limit::{NoLineLimit, check_line_limit, warn_without_line_limit};
pub(crate) use machine_check::check_executor_folders;
pub use machine_check::{MachineError, check_executor_host, check_temporary_folder};
pub use private_folder::private_temporary_folder;
pub use run::{Executed, count_gas_on, execute_on};
pub(crate) use run::{ProgramExecutor, find_unread_input};
pub(crate) use shared_memory::{LIMITS as SHARE_LIMITS, trace_bytes};
pub(crate) use supervisor::{ExecutionEnd, supervise};
pub(crate) use traced_run::TracedRun;
