//! This process and its machine: memory, processor, panics and the temporary folder. This folder does not know the
//! commands.

pub(crate) mod allocator;
pub(crate) mod cpu;
pub(crate) mod panic;
mod private_folder;

pub(crate) use private_folder::use_private_folder;
