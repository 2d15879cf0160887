//! The machine that programs are proven for.

use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::{Machine, air::MachineAir};
use sp1_primitives::SP1Field;
use sp1d_engine::riscv_machine;

/// The type that SP1's clients take for a custom machine.
pub(crate) type RiscvMachine = Machine<SP1Field, RiscvAir<SP1Field>>;

/// Returns `machine`, or SP1's standard machine if it is `None`. Building a machine takes code that needs the processor
/// features of this build, so check the processor first.
pub(crate) fn or_standard(machine: Option<RiscvMachine>) -> RiscvMachine {
    machine.unwrap_or_else(riscv_machine)
}

/// Returns true if the tables of `machine` differ from the tables of SP1's standard machine. Workers have only the
/// standard machine.
pub(crate) fn is_foreign(machine: &RiscvMachine) -> bool {
    let names = |machine: &RiscvMachine| machine.chips().iter().map(|chip| chip.name().to_owned()).collect::<Vec<_>>();
    let standard = riscv_machine();
    machine.num_pv_elts() != standard.num_pv_elts() || names(machine) != names(&standard)
}
