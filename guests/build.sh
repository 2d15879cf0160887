#!/usr/bin/env bash
# Builds the guest programs into guests/elf with Debian's compiler, without SP1's own toolchain.
#
#   guests/build.sh           build all guests; write elf/<name>, elf/SHA256SUMS and elf/COMPILER
#   guests/build.sh --check   build in a temporary folder and compare with elf/SHA256SUMS; installs nothing
#   guests/build.sh FOLDER    build the program in FOLDER, which is yours, and print the path of the ELF file
#
# A check that succeeded is not repeated for the same sources, programs and compiler: the build has no other inputs. The digests of
# such checks are in sp1-distributed/guests in XDG_CACHE_HOME or ~/.cache.
#
# GUEST_JOBS        compiler jobs at a time (default 1)
# GUEST_TARGET_DIR  where a build keeps its intermediate files (default guests/target or FOLDER/target; a check always starts from
#                   nothing)
#
# A build installs the Debian packages it misses if it may; elsewhere it names them and stops.
set -euo pipefail
export LC_ALL=C # the order of the names in SHA256SUMS

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
elf_dir=$here/elf
spec=$here/riscv64im-succinct-zkvm-elf.json
packages=(rustc-web cargo-web rust-web-src lld-22)

# Absolute paths: rustup's shims usually come first in PATH, and its toolchains have no library source.
rustc=/usr/bin/rustc
cargo=/usr/bin/cargo
lld=/usr/bin/ld.lld-22

say() { printf 'guests: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# The folder of the library source, which is of the compiler's own version; fails if any part of the compiler is missing.
library_source() {
  [ -x $rustc ] && [ -x $cargo ] && [ -x $lld ] || return 1
  local source release
  source=$($rustc --print sysroot)/lib/rustlib/src/rust
  release=$($rustc --version | cut -d' ' -f2)
  [ -f "$source/library/Cargo.lock" ] && [ "$(basename "$(realpath "$source")")" = "rustc-$release" ] || return 1
  printf '%s\n' "$source"
}

compiler() {
  $rustc --version
  $lld --version
}

# The guests' names, which are those of their folders. A library is in the folder of its guest (evm/block), so it is not in this list.
guests() {
  local manifest
  for manifest in "$here"/*/Cargo.toml; do
    basename "$(dirname "$manifest")"
  done
}

install_packages() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
    return 1
  fi
  say "installing ${packages[*]}"
  # --no-remove: another Debian compiler on this machine is its owner's.
  local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get install --yes --no-install-recommends --no-remove "${packages[@]}")
  "${install[@]}" >&2 || { "${as_root[@]}" apt-get update >&2 && "${install[@]}" >&2; }
}

# prepare <folder> <target folder> [cargo's options]: enters the folder with the programs and sets what `compile` uses.
prepare() {
  local folder=$1 target_dir=$2 source cargo_home variable
  locked=("${@:3}")
  source=$(library_source)
  cargo_home=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")

  # Settings of the caller's that would change the programs.
  for variable in $(compgen -e); do
    case $variable in
      CARGO_PROFILE_* | CARGO_BUILD_* | CARGO_TARGET_* | CARGO_UNSTABLE_* | SP1_ZKVM_*) unset "$variable" ;;
      RUSTFLAGS | RUSTUP_TOOLCHAIN) unset "$variable" ;;
    esac
  done
  export CARGO_INCREMENTAL=0
  # Empty rather than unset: that also overrules a wrapper in cargo's configuration files.
  export RUSTC_WRAPPER='' RUSTC_WORKSPACE_WRAPPER=''
  export RUSTC=$rustc
  # A stable compiler, with the switches of the nightly one.
  export RUSTC_BOOTSTRAP=1
  export CARGO_TARGET_DIR=$target_dir

  cd "$folder"
  # First of all, so that the folders of unpacked crates are there to be listed below.
  $cargo fetch "${locked[@]}" --quiet

  # Up to the blank line, what `sp1-build` passes.
  local flags=(
    -C passes=lower-atomic              # one hart and no atomic instructions: plain loads and stores
    -C link-arg=--image-base=0x78000000 # SP1's STACK_TOP: the stack below, the program above it
    -C panic=abort
    --cfg 'getrandom_backend="custom"'  # sp1-zkvm supplies getrandom's source
    -C llvm-args=-misched-prera-direction=bottomup
    -C llvm-args=-misched-postra-direction=bottomup

    # File names get into panic messages, so into the program and its verifying key: they must not depend on the machine. The last
    # match wins, so inner folders follow outer ones.
    "--remap-path-prefix=$folder=/guests"
    "--remap-path-prefix=$cargo_home=/cargo"
    "--remap-path-prefix=$target_dir=/target"
    "--remap-path-prefix=$(realpath "$source")=/rust"
    "--remap-path-prefix=$source=/rust"
  )
  # Named after the registry's address, so it differs behind a mirror.
  local crates
  for crates in "$cargo_home"/registry/src/*/; do
    [ -d "$crates" ] && flags+=("--remap-path-prefix=${crates%/}=/crates")
  done
  # One rustc argument each, with 0x1f between them.
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && printf '%s' "${flags[*]}")
  export CARGO_ENCODED_RUSTFLAGS
}

# compile [cargo's options]
compile() {
  $cargo build "${locked[@]}" --release "$@" --jobs "${GUEST_JOBS:-1}" --target "$spec" \
    -Z json-target-spec \
    -Z build-std=core,alloc,std,panic_abort \
    -Z build-std-features=compiler-builtins-mem
}

# build <target folder>: leaves the programs in <target folder>/riscv64im-succinct-zkvm-elf/release.
build() {
  prepare "$here" "$1" --locked
  # One at a time: a build of several gives each the dependencies' features that any of them asks for, so one guest's wish would
  # change the other programs.
  local name
  for name in $(guests); do
    compile --package "$name"
  done
}

# collect <target folder> <folder>: copies the programs of this workspace, and no others that the target folder may hold.
collect() {
  local name sums
  for name in $(guests); do
    install -m 644 "$1/riscv64im-succinct-zkvm-elf/release/$name" "$2/$name"
  done
  sums=$(cd "$2" && sha256sum -- *)
  printf '%s\n' "$sums" >"$2/SHA256SUMS"
}

# inputs COMPILER: prints the digest of all that decides the outcome of a check.
inputs() {
  {
    printf '%s\n' "$1" "${CARGO_HOME:-}"
    (cd "$here" && find . -path ./target -prune -o -type f -print0 | sort -z | xargs -0 sha256sum --)
  } | sha256sum | cut -d' ' -f1
}

need_compiler() {
  if ! library_source >/dev/null; then
    { install_packages && library_source >/dev/null; } ||
      die "the compiler is missing; install Debian 12's packages: apt-get install --no-install-recommends ${packages[*]}"
  fi
}

# own <folder>: builds a program that is not one of the guests. Its lock file may be missing.
own() {
  local folder target_dir
  folder=$(realpath -e "$1" 2>/dev/null) && [ -f "$folder/Cargo.toml" ] || die "$1 is not a folder with a Cargo.toml"
  target_dir=$(realpath -m "${GUEST_TARGET_DIR:-$folder/target}")
  need_compiler
  (prepare "$folder" "$target_dir"; compile)
  find "$target_dir/riscv64im-succinct-zkvm-elf/release" -maxdepth 1 -type f -executable
}

update() {
  local target_dir
  target_dir=$(realpath -m "${GUEST_TARGET_DIR:-$here/target}")
  need_compiler
  (build "$target_dir")
  # Only after a build that succeeded.
  rm -rf "$elf_dir"
  mkdir "$elf_dir"
  collect "$target_dir" "$elf_dir"
  compiler >"$elf_dir/COMPILER"
  say "built $(wc -l <"$elf_dir/SHA256SUMS") programs into $elf_dir"
}

check() {
  # Needs no compiler: the programs in the repository are the ones that were listed.
  (cd "$elf_dir" && sha256sum --check --strict --quiet SHA256SUMS) || die "guests/elf differs from its own SHA256SUMS"

  if ! library_source >/dev/null; then
    say "passed over the rebuild check: Debian's compiler (${packages[*]}) is not installed"
    return
  fi
  local installed recorded
  installed=$(compiler)
  recorded=$(cat "$elf_dir/COMPILER" 2>/dev/null || echo "an unknown compiler")
  if [ "$installed" != "$recorded" ]; then
    say "passed over the rebuild check: the guests were built by ${recorded//$'\n'/, }; this machine has ${installed//$'\n'/, }"
    return
  fi

  local checked
  checked=${XDG_CACHE_HOME:-$HOME/.cache}/sp1-distributed/guests/$(inputs "$installed")
  if [ -f "$checked" ]; then
    say "the rebuilt programs are those in guests/elf: checked before with the same sources and compiler"
    return
  fi

  scratch=$(realpath "$(mktemp -d)")
  trap 'rm -rf "$scratch"' EXIT
  mkdir "$scratch/elf"
  (build "$scratch/target")
  collect "$scratch/target" "$scratch/elf"
  diff -u "$elf_dir/SHA256SUMS" "$scratch/elf/SHA256SUMS" >&2 ||
    die "the rebuilt programs differ; after a change to a guest run guests/build.sh and commit guests/elf"
  mkdir -p "$(dirname "$checked")"
  : >"$checked"
  say "the rebuilt programs are those in guests/elf"
}

case "$#,${1:-}" in
  0,) update ;;
  1,--check) check ;;
  1,-h | 1,--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" ;;
  1,-* | [2-9]*) die "usage: guests/build.sh [--check | FOLDER]" ;;
  *) own "$1" ;;
esac
