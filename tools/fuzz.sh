# `./x fuzz`: builds the fuzz targets, runs libFuzzer on each, and prints what each has covered.
#
# `./x` reads this file. It provides `profile`, `say`, `die`, `need`, `setup` and `target_folder`.

# Limits of a target's process. The targets themselves bound the memory of each input, see `FuzzMemory`.
fuzz_limits=(-timeout=60 -rss_limit_mb=6144)

fuzz_usage() {
  cat <<'TEXT'
./x fuzz SECONDS [TARGET…]: run each target for SECONDS, and print executions, coverage and crashes. A target sends
changed inputs to a parser of untrusted bytes.

  TARGET  name of a target; `light` stands for those that do not compile SP1 [default: all targets]

Targets: TARGETS

The first run of the target `result` makes a proof, which needs 5.6 GB of free memory. Inputs that reach new code stay in
the build folder, and later runs start from them. The exit code is 1 if a target failed.
TEXT
}

# Prints the targets of a crate, one a line. The name of a program's file is the name of its target.
fuzz_targets() {
  local file
  for file in "crates/$1/src/bin"/*.rs; do basename "$file" .rs; done
}

# Builds the programs of these targets with coverage.
build_fuzz_targets() {
  local target bins=() wrapper
  for target in "$@"; do bins+=(--bin "fuzz-$target"); done
  # Cargo notices another path, but not another content.
  wrapper=$fuzz_folder/rustc-$(sha256sum tools/rustc-with-coverage | cut -c1-16)
  install -m 755 tools/rustc-with-coverage "$wrapper"
  RUSTC_WORKSPACE_WRAPPER=$wrapper cargo build "${profile[@]}" --workspace \
    --features sp1d-fuzz/libfuzzer,sp1d-fuzz-engine/libfuzzer "${bins[@]}"
}

# Makes a core proof and its verifying key once for each version of SP1. Sets `fuzz_proof` to the variables with both
# files. Leaves it empty if the proof cannot be made.
make_fuzz_proof() {
  local version files sp1d
  version=$(sed -n 's/^sp1-sdk = "=\(.*\)"/\1/p' Cargo.toml)
  files=$fuzz_folder/fibonacci-$version
  fuzz_proof=()
  if [ ! -s "$files.proof" ]; then
    say "== proof for the target result"
    cargo build "${profile[@]}" --quiet --workspace --bin sp1d
    sp1d=$(target_folder)/checked/sp1d
    echo '["local"]' >"$fuzz_folder/local.json"
    # The lowest threshold makes the smallest shards.
    if ! { ELEMENT_THRESHOLD=29360128 "$sp1d" prove --workers "$fuzz_folder/local.json" --elf guests/elf/fibonacci \
      --input u32:1000 --output "$files.part" >&2 &&
      "$sp1d" vkey --elf guests/elf/fibonacci --output "$files.key" >&2 && mv "$files.part" "$files.proof"; }; then
      say "no proof was made: the target result runs without changes of a real proof"
      return
    fi
  fi
  fuzz_proof=("SP1D_FUZZ_PROOF=$files.proof" "SP1D_FUZZ_KEY=$files.key")
}

# last PATTERN FILE: prints the last number after PATTERN, or `-`.
last() {
  local found; found=$(grep -aoE "$1[0-9]+" "$2" | tail -n1 | grep -oE '[0-9]+$') || found=-
  echo "$found"
}

# fuzz_target TARGET SECONDS: runs a target, and prints its row of the table. Returns 1 if it failed.
fuzz_target() {
  local target=$1 seconds=$2 binary folder log status=0 edges covered percent crashes options variables=()
  binary=$(target_folder)/checked/fuzz-$target
  folder=$fuzz_folder/$target
  log=$folder/log
  mkdir -p "$folder/corpus" "$folder/crashes"
  SP1D_FUZZ_SEEDS=$folder "$binary" 2>"$log" || { cat "$log" >&2; return 1; }
  read -ra options <"$folder/options"
  [ "$target" = result ] && variables=("${fuzz_proof[@]}")
  touch "$folder/started"
  env "${variables[@]}" "$binary" "$folder/corpus" "$folder/seeds" "${options[@]}" "${fuzz_limits[@]}" \
    -dict="$folder/dictionary" -artifact_prefix="$folder/crashes/" -max_total_time="$seconds" -print_final_stats=1 \
    >"$log" 2>&1 || status=$?
  edges=$(sed -n 's/^INFO: Loaded .* (\([0-9]*\) inline 8-bit counters).*/\1/p' "$log" | head -n1)
  covered=$(last 'cov: ' "$log")
  percent=-
  [[ ${edges:-0} -gt 0 && $covered != - ]] && percent=$((covered * 1000 / edges)) && percent=$((percent / 10)).$((percent % 10))
  mapfile -t crashes < <(find "$folder/crashes" -type f -newer "$folder/started" ! -name 'slow-unit-*')
  printf "$fuzz_row" "$target" "$(last 'stat::number_of_executed_units: *' "$log")" \
    "$(last 'stat::average_exec_per_sec: *' "$log")" "$covered" "${edges:--}" "$percent" "$(last 'corp: ' "$log")" \
    "$(last 'stat::peak_rss_mb: *' "$log")" "${#crashes[@]}"
  [ "$status" = 0 ] && return
  say "error: the target $target failed with exit code $status: see $log"
  grep -aE '^(panicked at|==[0-9]+==|.*ERROR: libFuzzer)' -A4 "$log" | head -n 20 >&2 || true
  local crash
  for crash in "${crashes[@]}"; do say "hint: reproduce it with: ${variables[*]:+${variables[*]} }$binary $crash"; done
  return 1
}

# Columns of the table.
fuzz_row='%-12s %12s %8s %9s %9s %6s %7s %8s %7s\n'

fuzz() {
  local light heavy known seconds=${1:-} target targets=() failed=0
  mapfile -t light < <(fuzz_targets sp1d-fuzz)
  mapfile -t heavy < <(fuzz_targets sp1d-fuzz-engine)
  known=("${light[@]}" "${heavy[@]}")
  case $seconds in -h | --help | help) fuzz_usage | sed "s/TARGETS/${known[*]}/"; return ;; esac
  [[ $seconds =~ ^[1-9][0-9]{0,8}$ ]] || { fuzz_usage | sed "s/TARGETS/${known[*]}/" >&2; exit 2; }
  shift
  [ $# -gt 0 ] || set -- "${known[@]}"
  for target in "$@"; do
    case " ${known[*]} light " in
      *" $target "*) ;;
      *) die "unknown target $target: the targets are ${known[*]}" ;;
    esac
    if [ "$target" = light ]; then targets+=("${light[@]}"); else targets+=("$target"); fi
  done
  setup
  # libFuzzer itself is C++.
  need c++ g++
  fuzz_folder=$(target_folder)/fuzz
  mkdir -p "$fuzz_folder"
  say "== build"; build_fuzz_targets "${targets[@]}"
  fuzz_proof=()
  case " ${targets[*]} " in *' result '*) make_fuzz_proof ;; esac
  printf "$fuzz_row" target executions per-s covered edges % corpus peak-MB crashes
  for target in "${targets[@]}"; do fuzz_target "$target" "$seconds" || failed=1; done
  return "$failed"
}
