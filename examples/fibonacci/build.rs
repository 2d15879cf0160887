//! Names the program for `include_elf!`. With SP1's own toolchain this file says
//! `sp1_build::build_program("../program")` instead, which also builds it.

use std::{env, path::Path};

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let elf = Path::new(&folder).join("../../guests/elf/fibonacci");
    println!("cargo::rustc-env=SP1_ELF_fibonacci={}", elf.display());
    println!("cargo::rerun-if-changed={}", elf.display());
}
