# `./x gpu`: builds sp1d with GPU support. Where the system has no CUDA, it fetches the compiler and the headers from
# PyPI. Also builds the benches that measure GPUs.
#
# `./x` reads this file. It provides `profile`, `tools`, `say`, `die`, `need`, `setup` and `target_folder`.

# NVIDIA's packages on PyPI with nvcc, its back end, headers and the runtime library, all of CUDA 13.0. Drivers of
# version 580 run it; they are usual in data centers.
cuda_packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85 nvidia-nvtx==13.0.85)
cuda_folder=$tools/cuda-13.0

# The oldest CUDA whose driver the code of sp1d accepts: BUILD_CUDA in crates/sp1d-machine/src/gpu/fault.rs.
cuda_major=13

gpu_usage() {
  cat <<'TEXT'
Usage: ./x gpu [--archs LIST] [--fetch] [--for-others] [--pack] [--locked]

Builds sp1d with GPU support and copies it with CUDA's runtime library to target/gpu. The first build takes more than half
an hour on two cores: it compiles SP1 and its CUDA code.

  --archs LIST  compute capabilities without their dots, separated by commas, for example 89,90 [default: those of the GPUs
                of this machine, else 80,86,89,90,100,120]
  --fetch       fetch CUDA from PyPI even if the system has it
  --for-others  build for processors with AVX2 (x86-64-v3) instead of the one of this machine. This compiles everything again
  --pack        also write target/gpu/sp1d-gpu.tar.xz with both files, to carry them to another machine
  --locked      fail if Cargo.lock does not fit the packages, as releases do

A system's CUDA (CUDA_PATH, /usr/local/cuda or /opt/cuda) is used if it is of version 13. Otherwise nvcc and its headers
are fetched from PyPI, once: 0.1 GB, and 0.3 GB in the project's cache. No GPU and no driver are needed to build.

As for every build, the program is for the processor of this machine, unless --for-others or RUSTFLAGS says another one.
TEXT
}

# Prints the folder of the system's CUDA. Fails if there is none of the wanted version.
system_cuda() {
  local folder
  for folder in "${CUDA_PATH:-}" /usr/local/cuda /opt/cuda; do
    [ -n "$folder" ] && [ -x "$folder/bin/nvcc" ] || continue
    if [[ $("$folder/bin/nvcc" --version) == *"release $cuda_major."* ]]; then echo "$folder"; return; fi
    say "CUDA in $folder is not of version $cuda_major: not used"
  done
  return 1
}

# Unpacks CUDA from PyPI into $cuda_folder, once.
fetch_cuda() {
  [ -e "$cuda_folder/complete" ] && return
  say "fetching CUDA 13.0 from PyPI to $cuda_folder (once)"
  need python3 python3
  local work file found
  rm -rf "$cuda_folder"
  work=$(mktemp -d)
  # A virtual environment has pip, and leaves the system's packages alone.
  if ! python3 -m venv "$work/venv" >/dev/null 2>&1; then
    add_packages python3-venv || die "python3 cannot make a virtual environment"
    python3 -m venv "$work/venv"
  fi
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$work/packages" "${cuda_packages[@]}" ||
    { rm -rf "$work"; die "CUDA cannot be fetched: see the error above"; }
  # All packages share this folder. One file of each:
  for file in bin/nvcc nvvm/bin/cicc include/crt/host_defines.h lib/libcudart.so.13 include/cccl/cuda/atomic \
    include/nvtx3/nvToolsExt.h; do
    [ -f "$work/packages/nvidia/cu13/$file" ] && continue
    found=$(ls "$work/packages/nvidia" "$work/packages/nvidia/cu13" 2>&1 || true)
    rm -rf "$work"
    die "the packages of CUDA have another layout than expected: cu13/$file is missing among ${found//$'\n'/ }"
  done
  mkdir -p "$(dirname "$cuda_folder")"
  mv "$work/packages/nvidia/cu13" "$cuda_folder"
  rm -rf "$work"
  for file in "$cuda_folder"/bin/* "$cuda_folder"/nvvm/bin/*; do
    if [ -f "$file" ]; then chmod +x "$file"; fi
  done
  # The names under which CMake and the linker look for them.
  ln -sfn lib "$cuda_folder/lib64"
  ln -sf libcudart.so.13 "$cuda_folder/lib/libcudart.so"
  touch "$cuda_folder/complete"
}

# Prints the architectures of this machine's GPUs. Fails if there are none.
own_archs() {
  command -v nvidia-smi >/dev/null || return 1
  local found
  found=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d '. ' | sort -nu | paste -sd,)
  [[ $found =~ ^[0-9,]+$ ]] && echo "$found"
}

# The CMake for SP1's CUDA code, from PyPI: that of Debian 12 does not know nvcc's option for C++20.
cmake_version=4.4.5

# Puts CMake first in PATH.
use_cmake() {
  python_tool cmake "$cmake_version" || die "CMake $cmake_version cannot be installed from PyPI: see the error above"
  PATH=$python_tools/bin:$PATH
}

# use_cuda ARCHS FETCH: installs what the build needs, and sets `cuda` and the environment of the build. Empty ARCHS are
# those of this machine's GPUs, or all. FETCH is empty if the system's CUDA may be used.
use_cuda() {
  local archs=$1 fetch=$2
  [ -n "$archs" ] || archs=$(own_archs) || archs=80,86,89,90,100,120
  [[ $archs =~ ^[0-9]+[a-z]?(,[0-9]+[a-z]?)*$ ]] || die "invalid --archs $archs: write compute capabilities without dots, for example 89,90"
  setup
  use_cmake
  need g++ g++
  if [ -n "$fetch" ] || ! cuda=$(system_cuda); then fetch_cuda; cuda=$cuda_folder; fi
  say "CUDA: $cuda"
  say "architectures: $archs"
  # SP1's build script and CMake read these variables, and so does the check of a GPU's compute capability.
  export CUDA_PATH=$cuda CUDACXX=$cuda/bin/nvcc CUDA_ARCHS=$archs SP1_CUDA_ENABLED=1 PATH=$cuda/bin:$PATH
}

# gpu_bench ARGUMENTS…: runs a bench that measures GPUs. Building takes long, so a machine without a driver is refused
# first.
gpu_bench() {
  [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null ||
    die $'this machine has no NVIDIA driver, so --gpus has nothing to measure\nhint: run the bench on a machine with a GPU, or without --gpus'
  local cuda
  use_cuda '' ''
  cargo build "${profile[@]}" --workspace --bin sp1d --bin bench --features sp1d/gpu
  # CUDA's runtime library is not beside these programs.
  LD_LIBRARY_PATH=$cuda/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$(target_folder)/checked/bench" "$@"
}

gpu() {
  local archs='' fetch='' pack='' locked=() cuda bytes
  while [ $# -gt 0 ]; do
    case $1 in
      --archs) archs=${2:?--archs needs a list}; shift ;;
      --fetch) fetch=1 ;;
      # `.cargo/config.toml` sets the processor of this machine. This variable replaces it.
      --for-others) export RUSTFLAGS="-C target-cpu=x86-64-v3" ;;
      --pack) pack=1 ;;
      --locked) locked=(--locked) ;;
      -h|--help) gpu_usage; return ;;
      *) gpu_usage >&2; exit 2 ;;
    esac
    shift
  done
  use_cuda "$archs" "$fetch"
  cargo build "${locked[@]}" "${profile[@]}" --workspace --bin sp1d --features sp1d/gpu
  local target; target=$(target_folder)
  mkdir -p target/gpu
  install -m 755 "$target/checked/sp1d" target/gpu/sp1d
  strip target/gpu/sp1d
  # The program finds it in its own folder.
  cp -L "$cuda/lib64/libcudart.so.$cuda_major" target/gpu/
  rm -f target/gpu/sp1d-gpu.tar.xz
  if [ -n "$pack" ]; then
    need xz xz-utils
    tar -C target/gpu -cf - sp1d "libcudart.so.$cuda_major" | xz -9e -T1 >target/gpu/sp1d-gpu.tar.xz
    bytes=$(stat -c %s target/gpu/sp1d-gpu.tar.xz)
    say "target/gpu/sp1d-gpu.tar.xz: $((bytes >> 20)) MiB. There: ./x gpu-check --binary target/gpu/sp1d-gpu.tar.xz"
  fi
  say "target/gpu: sp1d and libcudart.so.$cuda_major. On a machine with a GPU: ./x gpu-check"
}
