//! Is this a program SP1 can run?

use elf::{ElfBytes, abi, endian::LittleEndian, file::Class};
use serde::{Deserialize, Serialize};
use sp1_core_executor::Program;
use std::panic::catch_unwind;

/// Why a file is no program for SP1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// No ELF file at all.
    #[error("it is no ELF file; build the program with `cargo prove build` and give the file it names")]
    NoElf,
    /// A 32-bit program: SP1 before version 6.
    #[error("it is a 32-bit ELF, as SP1 before version 6 used; build the program again with SP1 v6")]
    Class32,
    /// For another machine.
    #[error("it is a program for another machine (ELF machine {0}, SP1 runs RISC-V, 243)")]
    Machine(u16),
    /// A library or an object file.
    #[error("it is no executable (ELF type {0}); give the linked program, not a library or an object file")]
    Type(u16),
    /// It wants more memory than a program can have.
    #[error(
        "its segments take {0} bytes of memory, and {1} are the most; make large tables and buffers smaller, or allocate them at run time"
    )]
    TooLarge(u64, u64),
    /// Something in it cannot be decoded.
    #[error("SP1 cannot decode it: {0}; build the program with SP1 v6's own toolchain")]
    Undecodable(String),
}

/// Bytes of all segments together, zeros included. SP1's decoder makes an entry of up to 39 bytes for every 8 bytes of
/// zeros, and every such entry is proven. The largest known programs have 12 MB; heap and stack are no part of any
/// segment.
const MAX_SEGMENT_BYTES: u64 = 128 << 20;

/// Bytes of instructions: SP1 takes 2^22 of them, and looks only after it has decoded all.
const MAX_TEXT_BYTES: u64 = 4 << 22;

/// Where a program's addresses end: `MAX_JIT_LOG_ADDR` of sp1-core-executor.
const MAX_ADDRESS: u64 = 1 << 40;

/// What the shape of every shard of a program depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramSize {
    pub(crate) instructions: usize,
    /// It may run instructions that it wrote itself.
    pub(crate) untrusted: bool,
}

impl ProgramSize {
    pub(crate) fn of(program: &Program) -> Self {
        Self { instructions: program.instructions.len(), untrusted: program.enable_untrusted_programs }
    }
}

/// Decodes `program`, without trusting anything in it. Takes up to a second, and several times the program's size of
/// memory: not for an asynchronous thread.
///
/// # Errors
/// What is wrong with it and the way out.
pub(crate) fn decode_program(program: &[u8]) -> Result<Program, ProgramError> {
    check_headers(program)?;
    // SP1's decoder panics on what it does not know.
    match catch_unwind(|| Program::from(program)) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(ProgramError::Undecodable(error.to_string())),
        Err(_) => Err(ProgramError::Undecodable("it has an instruction that SP1 does not know".to_owned())),
    }
}

/// Checks that SP1 can decode all of `program`. Takes up to a second, and several times the program's size of memory.
///
/// # Errors
/// What is wrong with it and the way out.
pub fn check_program(program: &[u8]) -> Result<(), ProgramError> {
    decode_program(program).map(drop)
}

/// Checks the headers of `program`: that it is one for SP1, of a size that can be decoded. Takes microseconds.
///
/// # Errors
/// What is wrong with it and the way out.
fn check_headers(program: &[u8]) -> Result<(), ProgramError> {
    if !program.starts_with(&abi::ELFMAGIC) {
        return Err(ProgramError::NoElf);
    }
    if program.get(abi::EI_CLASS) == Some(&abi::ELFCLASS32) {
        return Err(ProgramError::Class32);
    }
    let undecodable = |error: elf::ParseError| ProgramError::Undecodable(error.to_string());
    let file = ElfBytes::<LittleEndian>::minimal_parse(program).map_err(undecodable)?;
    if file.ehdr.class != Class::ELF64 {
        return Err(ProgramError::Class32);
    }
    if file.ehdr.e_machine != abi::EM_RISCV {
        return Err(ProgramError::Machine(file.ehdr.e_machine));
    }
    if file.ehdr.e_type != abi::ET_EXEC {
        return Err(ProgramError::Type(file.ehdr.e_type));
    }
    let segments = file.segments().ok_or_else(|| ProgramError::Undecodable("it has no segments".to_owned()))?;
    let loaded = || segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD);
    let size = |segment: &elf::segment::ProgramHeader| segment.p_memsz.max(segment.p_filesz);
    let wanted = loaded().map(|segment| size(&segment)).fold(0, u64::saturating_add);
    if wanted > MAX_SEGMENT_BYTES {
        return Err(ProgramError::TooLarge(wanted, MAX_SEGMENT_BYTES));
    }
    let text = loaded().filter(|segment| segment.p_flags & abi::PF_X != 0).map(|segment| size(&segment)).sum();
    if text > MAX_TEXT_BYTES {
        return Err(ProgramError::TooLarge(text, MAX_TEXT_BYTES));
    }
    if loaded().any(|segment| segment.p_vaddr.saturating_add(size(&segment)) > MAX_ADDRESS) {
        return Err(ProgramError::Undecodable(
            "a segment ends beyond the addresses that a program can have".to_owned(),
        ));
    }
    Ok(())
}
