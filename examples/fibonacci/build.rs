//! Tells `include_elf!` where the guest program is. With SP1's toolchain, this file would instead contain
//! `sp1_build::build_program("../program")`, which also builds the guest program.

use std::{env, path::Path};

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets this variable");
    let elf = Path::new(&folder).join("../../guests/elf/fibonacci");
    println!("cargo::rustc-env=SP1_ELF_fibonacci={}", elf.display());
    println!("cargo::rerun-if-changed={}", elf.display());
}
