//! Machines that lack something.

use super::{check, check_refused, files, folder, guest, in_folder, kernel_file::KernelFile, outcome, prove, sp1d};
use sp1d_testing::free_address;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Checks how `sp1d` ends on a machine of which the kernel has this file.
fn check_on_machine(file: &KernelFile, folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let command = file.command(env!("CARGO_BIN_EXE_sp1d"));
    check_refused(&outcome(&mut in_folder(command, folder, arguments)), code, parts);
}

#[test]
#[cfg(target_feature = "avx2")]
fn a_build_for_another_processor_ends_with_an_error() {
    check_on_machine(&KernelFile::without_avx2(), folder().path(), &["doctor"], 7, &["lacks: avx2", "target-cpu"]);
}

#[test]
fn a_machine_that_cannot_load_a_prover_is_reported() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), r#"["local"]"#).unwrap();
    let (elf, address) = (guest("fibonacci"), free_address().to_string());
    for arguments in [prove(&elf), vec!["worker", "--listen", &address, "--orchestrator", "any"]] {
        let parts = ["not enough memory to load a prover: 2.0 GB needed", "a machine with more memory"];
        check_on_machine(&KernelFile::of_a_small_machine(), folder.path(), &arguments, 7, &parts);
    }
    assert_eq!(files(folder.path()), ["distributed.json"]);
}

#[test]
fn an_untrusted_temporary_folder_is_refused() {
    let folder = folder();
    let own = folder.path().join(format!("sp1d-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let elf = guest("fibonacci");
    let arguments = ["execute", "--elf", elf.to_str().unwrap(), "--input", "u32:1"];
    check(folder.path(), &arguments, 7, &["cannot trust", "other users can write", "TMPDIR"]);
    fs::remove_dir(&own).unwrap();
    let output = outcome(sp1d(folder.path(), &arguments).env("TMPDIR", folder.path().join("missing")));
    check_refused(&output, 7, &["missing", "cannot write"]);
}
