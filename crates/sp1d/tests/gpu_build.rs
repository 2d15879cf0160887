//! What `./x gpu` builds for, and with which CUDA. Nothing is installed, fetched or compiled.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// What `./x` provides to `tools/gpu.sh`, without installations.
const HARNESS: &str = r#"
set -euo pipefail
tools=$PWD/tools
profile=()
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }
setup() { :; }
need() { :; }
source "$SCRIPT"
use_cmake() { :; }
fetch_cuda() { :; }
use_cuda "$1" "$2"
echo "$CUDA_ARCHS ${CUDA_PATH#"$PWD/"}"
"#;

/// The architectures for all GPUs that SP1 supports.
const ALL: &str = "80,86,89,90,100,120";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/usr/bin/env bash\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Chooses CUDA and the architectures. `driver` is what `nvidia-smi` does, `nvcc` the version of the system's CUDA, and
/// the arguments are those of `use_cuda`.
fn choose(driver: &str, nvcc: &str, archs: &str, fetch: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    write_program(&folder.path().join("bin/nvidia-smi"), driver);
    write_program(&folder.path().join("cuda/bin/nvcc"), &format!("echo 'Cuda compilation tools, release {nvcc}, V1'"));
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    Command::new("bash")
        .args(["-c", HARNESS, "x", archs, fetch])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("CUDA_PATH", folder.path().join("cuda"))
        .env("SCRIPT", repository().join("tools/gpu.sh"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn check(output: &Output, expected: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{output:?}");
}

#[test]
fn a_gpu_build_is_for_the_gpus_of_the_machine_or_for_all() {
    let archs = |driver: &str, archs: &str| choose(driver, "13.0", archs, "");
    check(&archs(r"printf '9.0\n8.9\n9.0\n'", ""), "89,90 cuda");
    check(&archs(r"printf '12.0\n'", ""), "120 cuda");
    check(&archs(r"printf '9.0\n'", "80,90a"), "80,90a cuda");
    // Old drivers know no capability, and a driver that has failed prints why.
    check(&archs("echo '[N/A]'", ""), &format!("{ALL} cuda"));
    check(&archs("echo 'NVIDIA-SMI has failed'; exit 9", ""), &format!("{ALL} cuda"));
    let refused = archs("exit 9", "9.0");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("invalid --archs 9.0"), "{refused:?}");
}

#[test]
fn a_gpu_build_uses_the_cuda_of_the_system_if_it_is_new_enough() {
    check(&choose("exit 9", "13.2", "90", ""), "90 cuda");
    check(&choose("exit 9", "13.2", "90", "1"), "90 tools/cuda-13.0");
    // A machine with another CUDA may use that one.
    let old = choose("exit 9", "12.8", "90", "");
    assert!(String::from_utf8_lossy(&old.stderr).contains("/cuda is not of version 13: not used"), "{old:?}");
    assert_ne!(String::from_utf8_lossy(&old.stdout).trim(), "90 cuda");
}

/// The architectures and the version of CUDA stand in several files.
#[test]
fn scripts_and_code_agree_on_architectures_and_cuda() {
    for (file, part) in [
        ("tools/gpu.sh", format!("|| archs={ALL}\n")),
        ("tools/gpu.sh", format!("else {ALL}]\n")),
        ("packaging/build.sh", format!("--archs {ALL} ")),
        ("crates/sp1d-machine/src/gpu/architectures.rs", format!("DEFAULT_ARCHITECTURES: &str = \"{ALL}\";")),
        ("tools/gpu.sh", "\ncuda_major=13\n".to_owned()),
        ("crates/sp1d-machine/src/gpu/fault.rs", "BUILD_CUDA: (u32, u32) = (13, 0);".to_owned()),
    ] {
        let text = fs::read_to_string(repository().join(file)).unwrap();
        assert!(text.contains(&part), "{file} has no {part:?}");
    }
}
