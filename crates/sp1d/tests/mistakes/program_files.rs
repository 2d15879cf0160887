//! Programs that SP1 cannot run, and files that cannot be read or written.

use super::{check, folder, guest, prove};
use std::{fs, path::Path};

#[test]
fn an_invalid_program_file_is_reported_with_the_reason() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    let check_elf = |content: &[u8], parts: &[&str]| {
        let path = folder.path().join("program");
        fs::write(&path, content).unwrap();
        check(folder.path(), &prove(Path::new("program")), 2, parts);
        for command in ["vkey", "execute"] {
            check(folder.path(), &[command, "--elf", "program"], 2, parts);
        }
    };
    let no_elf = ["cannot use the program program", "not an ELF file"];
    check_elf(b"", &no_elf);
    check(folder.path(), &["submit", "--elf", "program"], 2, &no_elf);
    check_elf(b"#!/bin/sh\n", &["not an ELF file"]);
    let good = fs::read(guest("fibonacci")).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    check_elf(&with(4, &[1]), &["32-bit", "SP1 v6"]);
    check_elf(&with(18, &[62, 0]), &["another machine", "62"]);
    check_elf(&with(16, &[3, 0]), &["not an executable"]);
    for length in [20, 100, good.len() / 2, good.len() - 1] {
        let end = format!("it ends too early, after {length} bytes");
        check_elf(&good[..length], &["cannot use the program program", &end, "hint: copy the program again"]);
    }
    // The size in memory of the first loaded segment, in the second program header.
    check_elf(&with(64 + 56 + 40, &u64::MAX.to_le_bytes()), &["the maximum is 134217728"]);
    check(folder.path(), &["vkey", "--elf", "missing"], 2, &["missing", "No such file"]);
}

#[test]
fn unknown_instructions_are_an_error_and_no_panic() {
    let folder = folder();
    let mut program = fs::read(guest("fibonacci")).unwrap();
    let entry = usize::try_from(u64::from_le_bytes(program[24..32].try_into().unwrap())).unwrap();
    let text = executable_segment(&program);
    let at = text.0 + (entry - text.1);
    program[at..at + 4].copy_from_slice(&[0xff; 4]);
    fs::write(folder.path().join("program"), program).unwrap();
    check(folder.path(), &["vkey", "--elf", "program"], 2, &["cannot use the program"]);
}

/// Returns the file offset and the address of the executable segment.
fn executable_segment(program: &[u8]) -> (usize, usize) {
    let number = |at: usize| usize::try_from(u64::from_le_bytes(program[at..at + 8].try_into().unwrap())).unwrap();
    let (headers, count) = (number(32), usize::from(u16::from_le_bytes(program[56..58].try_into().unwrap())));
    let header = (0..count).map(|at| headers + at * 56).find(|at| program[*at] == 1 && program[at + 4] & 1 == 1);
    let header = header.expect("a program has an executable segment");
    (number(header + 8), number(header + 16))
}

#[test]
fn an_unwritable_output_fails_before_any_work() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    fs::create_dir(folder.path().join("proofs")).unwrap();
    let elf = guest("fibonacci");
    let to = |output| ["prove", "--elf", elf.to_str().unwrap(), "--output", output];
    check(folder.path(), &to("proofs"), 2, &["proofs", "folder"]);
    let parts = ["cannot write missing/proof.bin: the folder missing does not exist", "mkdir -p missing"];
    check(folder.path(), &to("missing/proof.bin"), 2, &parts);
}

#[test]
fn a_folder_in_place_of_a_file_is_reported_with_the_file_to_name() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    fs::create_dir(folder.path().join("program")).unwrap();
    let program = ["cannot read the program program: it is a folder", "release/NAME", "`guests/build.sh`"];
    check(folder.path(), &prove(Path::new("program")), 2, &program);
    for command in ["execute", "vkey", "submit", "tune"] {
        check(folder.path(), &[command, "--elf", "program"], 2, &program);
    }
    let elf = guest("fibonacci");
    let input = [prove(&elf).as_slice(), &["--stdin", "program"]].concat();
    check(folder.path(), &input, 2, &["cannot read the input program: it is a folder", "hint: name a file"]);
    let verify = ["verify", "--elf", elf.to_str().unwrap(), "program"];
    check(folder.path(), &verify, 2, &["cannot read the proof program: it is a folder"]);
}
