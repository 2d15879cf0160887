#!/usr/bin/env bash
# Builds sp1d for one level of x86-64, and prints the path of the binary. Another level compiles everything again, which
# takes most of an hour on two cores.
#
#   packaging/build.sh x86-64-v3 | x86-64-v4
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

level=${1:-}
case $level in
  x86-64-v3 | x86-64-v4) ;;
  *) printf 'usage: packaging/build.sh x86-64-v3 | x86-64-v4\n' >&2; exit 2 ;;
esac

RUSTFLAGS="-C target-cpu=$level" cargo build --locked --profile checked --workspace --bin sp1d >&2
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
printf '%s/checked/sp1d\n' "$target"
