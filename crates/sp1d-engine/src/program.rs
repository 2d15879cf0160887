//! Checks that a program is one that SP1 can run.

use elf::{ElfBytes, abi, endian::LittleEndian, file::Class};
use serde::{Deserialize, Serialize};
use sp1_core_executor::Program;
use sp1d_model::counted;
use std::panic::catch_unwind;

/// Why a file is not a program for SP1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The file is not an ELF file.
    #[error(
        "it is not an ELF file\n\
         hint: build the program with `cargo prove build` or `guests/build.sh`, and use the file that it names"
    )]
    NoElf,
    /// A 32-bit program, which SP1 used before version 6.
    #[error("it is a 32-bit ELF file, and SP1 v6 runs 64-bit programs\nhint: build the program again with SP1 v6")]
    Class32,
    /// A program for a machine other than RISC-V.
    #[error(
        "it is a program for another machine (ELF machine {0}, SP1 runs RISC-V, 243)\n\
         hint: build the program with `cargo prove build` or `guests/build.sh`"
    )]
    Machine(u16),
    /// Not an executable, but for example a library or an object file.
    #[error("it is not an executable (ELF type {0})\nhint: use the linked program, not a library or an object file")]
    Type(u16),
    /// The program needs more memory than a program may have: the needed bytes, then the largest allowed number.
    #[error(
        "its segments take {0} bytes of memory, the maximum is {1}\n\
         hint: make large tables and buffers smaller, or allocate them at run time"
    )]
    TooLarge(u64, u64),
    /// The file ends before a part that its headers name: the number of its bytes, then that of the bytes that the
    /// headers need.
    #[error(
        "it ends too early, after {}, and its headers name {} bytes\n\
         hint: copy the program again, or build it again: a part at its end is missing",
        counted(*.0, "byte"),
        .1
    )]
    Truncated(u64, u64),
    /// The program contains something that SP1 cannot decode.
    #[error("SP1 cannot decode it: {0}\nhint: build the program with the toolchain of SP1 v6")]
    Undecodable(String),
}

sp1d_model::limits! {
    /// Largest number of bytes in all segments together, zeros included. SP1's decoder makes an entry of up to 39 bytes
    /// for every 8 zero bytes, and every entry is proven. The largest known programs have 12 MB. Heap and stack are not
    /// in a segment.
    const MAX_SEGMENT_BYTES: u64 = 128 << 20; Bytes by Program;
    /// Largest number of bytes of instructions. SP1 allows 2^22 instructions, but checks that only after decoding all
    /// of them.
    const MAX_TEXT_BYTES: u64 = 4 << 22; Bytes by Program;
    /// End of a program's address space: `MAX_JIT_LOG_ADDR` of sp1-core-executor.
    const MAX_ADDRESS: u64 = 1 << 40; Count by Program;
}

/// The properties of a program that determine the shape of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramShape {
    pub(crate) instructions: usize,
    /// Whether the program may run instructions that it wrote itself.
    pub(crate) may_write_instructions: bool,
}

impl ProgramShape {
    pub(crate) fn of(program: &Program) -> Self {
        Self { instructions: program.instructions.len(), may_write_instructions: program.enable_untrusted_programs }
    }
}

/// Decodes `program` without trusting its content. Takes up to a second, and several times the program's size in
/// memory. Must not be called on an asynchronous thread.
///
/// # Errors
/// Fails with the first problem. The message says what to do.
pub(crate) fn decode_program(program: &[u8]) -> Result<Program, ProgramError> {
    check_headers(program)?;
    // SP1's decoder panics on instructions that it does not know.
    match catch_unwind(|| Program::from(program)) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(ProgramError::Undecodable(error.to_string())),
        Err(_) => Err(ProgramError::Undecodable("it has an instruction that SP1 does not know".to_owned())),
    }
}

/// Checks that SP1 can decode all of `program`. Takes up to a second, and several times the program's size in memory.
///
/// # Errors
/// Fails with the first problem. The message says what to do.
pub fn check_program(program: &[u8]) -> Result<(), ProgramError> {
    decode_program(program).map(drop)
}

/// Checks by the headers that `program` is a program for SP1, of a size that can be decoded. Takes microseconds.
///
/// # Errors
/// Fails with the first problem. The message says what to do.
fn check_headers(program: &[u8]) -> Result<(), ProgramError> {
    if !program.starts_with(&abi::ELFMAGIC) {
        return Err(ProgramError::NoElf);
    }
    if program.get(abi::EI_CLASS) == Some(&abi::ELFCLASS32) {
        return Err(ProgramError::Class32);
    }
    let length = program.len() as u64;
    let file = ElfBytes::<LittleEndian>::minimal_parse(program).map_err(|error| match error {
        elf::ParseError::SliceReadError((_, end)) => ProgramError::Truncated(length, end as u64),
        error => ProgramError::Undecodable(error.to_string()),
    })?;
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
        return Err(ProgramError::Undecodable("a segment ends beyond the address space of a program".to_owned()));
    }
    let end = loaded().map(|segment| segment.p_offset.saturating_add(segment.p_filesz)).max().unwrap_or(0);
    if end > length {
        return Err(ProgramError::Truncated(length, end));
    }
    Ok(())
}
