//! The targets: one file for each.

mod elf;
mod events;
mod result;
mod stdin;

pub use elf::ELF;
pub use events::EVENTS;
pub use result::RESULT;
pub use stdin::STDIN;
