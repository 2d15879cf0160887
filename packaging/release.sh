#!/usr/bin/env bash
# Builds sp1d for one level of x86-64 and packs it with its units, the Helm chart, manual pages and a checksum. With
# --gpu, it has GPU support, and CUDA's runtime library is packed too.
#
#   packaging/release.sh x86-64-v3 | x86-64-v4 [--gpu]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

level=${1:-}
case "$level ${2:-}" in
  'x86-64-v3 ' | 'x86-64-v4 ') variant='' ;;
  'x86-64-v3 --gpu' | 'x86-64-v4 --gpu') variant=-gpu ;;
  *) printf 'usage: packaging/release.sh x86-64-v3 | x86-64-v4 [--gpu]\n' >&2; exit 2 ;;
esac

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
name=sp1d-$version-$level$variant
binary=$(packaging/build.sh "$level" ${variant:+--gpu})

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/$name"
install -m 755 "$binary" "$folder/$name/sp1d"
strip "$folder/$name/sp1d"
# The program finds the library in its own folder.
if [ -n "$variant" ]; then install -m 644 "$(dirname "$binary")"/libcudart.so.* "$folder/$name/"; fi
cp -r LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md packaging/{systemd,grafana,nginx,caddy,helm,slurm} "$folder/$name/"
# A processor without the level's instructions cannot run the binary, so the pages come from one that can.
mkdir "$folder/$name/man"
"$folder/$name/sp1d" man "$folder/$name/man" || printf 'no manual pages: this processor cannot run %s\n' "$level" >&2

mkdir -p dist
tar --create --gzip --owner=0 --group=0 --file "dist/$name.tar.gz" --directory "$folder" "$name"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
printf 'dist/%s.tar.gz\n' "$name"
