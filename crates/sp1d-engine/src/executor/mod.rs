//! Executes programs with SP1's executor: checks the machine, supervises the child processes, and explains failures.
//!
//! Knows nothing about tasks and workers.

mod executor_error;
mod failures;
mod helper;
mod leftovers;
mod machine_check;
mod private_folder;
mod processes;
mod resources;
mod run;
mod segments;
mod supervisor;

pub(crate) use failures::{
    LIMITS as OUTPUT_LIMITS, execution_failure, is_unexplained, killed_from_outside, program_failure, ran_away,
};
pub use leftovers::{Leftovers, kill_executions, remove_leftovers};
pub use machine_check::{MachineError, check_executor_host, check_temporary_folder};
pub use private_folder::private_temporary_folder;
pub(crate) use run::ProgramRunner;
pub use run::{Executed, execute_on};
pub(crate) use supervisor::{ExecutionBound, ExecutionEnd, supervise};
