//! This process: memory, panics and the temporary folder. This folder does not know the commands.

#[cfg(feature = "prover")]
pub(crate) mod allocator;
#[cfg(feature = "prover")]
pub(crate) mod cpu;
pub(crate) mod panic;
#[cfg(feature = "prover")]
mod private_folder;

#[cfg(feature = "prover")]
pub(crate) use private_folder::use_private_folder;
