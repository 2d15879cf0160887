#!/usr/bin/env bash
# Builds sp1d for one level of x86-64, and prints the path of the binary. Another level compiles everything again, which
# takes most of an hour on two cores. With --gpu, sp1d has GPU support, and CUDA's runtime library is beside it.
#
#   packaging/build.sh x86-64-v3 | x86-64-v4 [--gpu]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

level=${1:-}
case "$level ${2:-}" in
  'x86-64-v3 ' | 'x86-64-v4 ') ;;
  'x86-64-v3 --gpu' | 'x86-64-v4 --gpu')
    # For all GPUs that SP1 supports, not only for those of this machine.
    RUSTFLAGS="-C target-cpu=$level" ./x gpu --locked --archs 80,86,89,90,100,120 >&2
    printf '%s/target/gpu/sp1d\n' "$PWD"
    exit ;;
  *) printf 'usage: packaging/build.sh x86-64-v3 | x86-64-v4 [--gpu]\n' >&2; exit 2 ;;
esac

RUSTFLAGS="-C target-cpu=$level" cargo build --locked --profile checked --workspace --bin sp1d >&2
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
printf '%s/checked/sp1d\n' "$target"
