//! Is this a program SP1 can run?

use elf::{ElfBytes, abi, endian::LittleEndian, file::Class};
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
    #[error("its segments want {0} bytes of memory, more than a program can have")]
    TooLarge(u64),
    /// Something in it cannot be decoded.
    #[error("SP1 cannot decode it: {0}; build the program with SP1 v6's own toolchain")]
    Undecodable(String),
}

/// Bytes of program and data; SP1's addresses end at 2^40, and it reads every byte that a header claims.
const MOST_BYTES: u64 = 1 << 30;

/// Checks that `program` can be decoded, without trusting anything in it. Takes up to a second for a large program: not for an
/// asynchronous thread.
///
/// # Errors
/// What is wrong with it and the way out.
pub fn check_program(program: &[u8]) -> Result<(), ProgramError> {
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
    let wanted = segments.iter().map(|segment| segment.p_memsz.max(segment.p_filesz)).fold(0, u64::saturating_add);
    if wanted > MOST_BYTES {
        return Err(ProgramError::TooLarge(wanted));
    }
    // SP1's decoder panics on what it does not know.
    match catch_unwind(|| Program::from(program)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ProgramError::Undecodable(error.to_string())),
        Err(_) => Err(ProgramError::Undecodable("it has an instruction that SP1 does not know".to_owned())),
    }
}
