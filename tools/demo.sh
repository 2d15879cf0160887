# `./x demo`: builds the one program that the demo needs, shows the progress, and runs `sp1d demo`.
#
# `./x` reads this file. It provides `called_in`, `profile`, `say`, `die`, `setup` and `target_folder`.

# Free memory that the demo needs. A test compares both values with what `sp1d demo` itself checks after the build.
one_worker_bytes=5600000000
two_workers_bytes=10600000000

# `sp1d`'s exit code for a machine that lacks something.
exit_host=7

# Seconds of one core that slow packages take to compile; each other package counts one. For the percentage only. The
# build script of sp1-core-executor-runner compiles a program with two hundred packages. Those of libsqlite3-sys,
# tikv-jemalloc-sys and zstd-sys compile C.
declare -A package_seconds=(
  [sp1d-engine]=290 [sp1-core-executor-runner]=230 [sp1-prover]=155 [sp1-prover-types]=56 [sp1d-service]=45
  [sp1d-orchestrator]=43 [sp1d]=40 [sp1-core-executor]=31 [sp1d-scheduler]=27 [libsqlite3-sys]=25 [tikv-jemalloc-sys]=25
  [sp1-verifier]=24 [tokio]=22 [zstd-sys]=20 [snowbridge-amcl]=20 [sp1d-worker]=18 [reqwest]=15 [sp1-core-machine]=14
  [sp1-recursion-machine]=14 [rustls]=13 [tonic]=10 [sp1d-roles]=8
)

demo_usage() {
  cat <<'TEXT'
./x demo [OPTIONS]: build sp1d, prove a program on two workers of this machine, verify the proof

  --binary PATH  use this sp1d (a released one, for example) and build nothing
  --json         print the outcome and the time of each phase as one JSON object
  --steps N      number of steps of the Fibonacci loop to prove [default: 60000]
  --output FILE  file to write the proof to [default: demo-proof.bin in sp1d's temporary folder]

The first build compiles SP1 and takes 10 to 30 minutes on two cores. The demo needs 5.6 GB of free memory,
and 10.6 GB to run two workers instead of one.
TEXT
}

# Prints the free memory in bytes: that of the machine, or less if a control group limits it.
free_memory() {
  local key value unit free=0 folder group
  while read -r key value unit; do
    [ "$key" = MemAvailable: ] && free=$((value * 1024))
  done </proc/meminfo
  folder=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
  while [[ $folder == /sys/fs/cgroup* ]]; do
    group=$(group_memory "$folder" memory.max memory.current inactive_file)
    [ "$group" -lt "$free" ] && free=$group
    folder=${folder%/*}
  done
  group=$(group_memory /sys/fs/cgroup/memory memory.limit_in_bytes memory.usage_in_bytes total_inactive_file)
  [ "$group" -lt "$free" ] && free=$group
  echo "$free"
}

# group_memory FOLDER LIMIT USED CACHE: prints what a control group has left. Without a limit, this is a huge number.
group_memory() {
  local limit used cache
  limit=$(cat "$1/$2" 2>/dev/null) || limit=max
  if [[ ! $limit =~ ^[0-9]{1,18}$ ]]; then
    echo $((1 << 62))
    return
  fi
  used=$(cat "$1/$3" 2>/dev/null) || used=0
  cache=$(sed -n "s/^$4 //p" "$1/memory.stat" 2>/dev/null) || cache=0
  echo $((limit - used + ${cache:-0}))
}

gigabytes() { printf '%d.%d GB' $(($1 / 1000000000)) $(($1 % 1000000000 / 100000000)); }

# Fails if not even one worker fits, and announces a demo with one worker. This comes before the build, which takes long.
check_memory() {
  local free; free=$(free_memory)
  # Without MemAvailable, `sp1d demo` checks.
  [ "$free" -gt 0 ] || return 0
  if [ "$free" -lt "$one_worker_bytes" ]; then
    say "error: not enough memory: the demo needs $(gigabytes "$one_worker_bytes") with one worker and" \
      "$(gigabytes "$two_workers_bytes") with two, $(gigabytes "$free") are free"
    say "hint: stop other programs"
    exit "$exit_host"
  fi
  if [ "$free" -lt "$two_workers_bytes" ]; then
    say "the demo will run one worker: two need $(gigabytes "$two_workers_bytes") of memory, $(gigabytes "$free") are free"
  fi
}

# Seconds since the start of the shell, with three decimals.
now() { printf '%s' "${EPOCHREALTIME/,/.}"; }

# since TIME: the seconds since a result of `now`.
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'; }

# The packages that `sp1d` is compiled from, as NAME@VERSION.
demo_packages() {
  cargo tree --locked --package sp1d --edges normal,build --prefix none --format '{p}' |
    sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1@\2/p' | sort -u
}

# artifact_package LINE: sets `package` to the package of one of cargo's messages, if it finished one, else to nothing.
artifact_package() {
  package=
  [[ $1 =~ ^\{\"reason\":\"compiler-artifact\",\"package_id\":\"([^\"#]*)#([^\"]*)\" ]] || return 0
  # A build script is only the start of its package.
  [[ $1 == *'"kind":["custom-build"]'* ]] && return 0
  package=${BASH_REMATCH[2]}
  # Without a name, the folder has the name.
  [[ $package == *@* ]] || package=${BASH_REMATCH[1]##*/}@$package
}

# progress TEXT: shows a line on stderr. On a terminal, it replaces the line before.
progress() {
  if [ -t 2 ]; then printf '\r\033[K%s' "$1" >&2; else say "$1"; fi
}

# Builds `sp1d` and shows the progress. Sets `build_seconds` and `build_processor_seconds`.
build_demo() {
  local -A left=()
  local package line pending='' status=1 total=0 built=0 name shown=-1 shown_at=$((SECONDS - 5)) text started
  while read -r package; do
    name=${package%@*}
    left[$package]=${package_seconds[$name]:-1}
    total=$((total + left[$package]))
  done < <(demo_packages)
  [ "$total" -gt 0 ] || die "cannot list the packages of sp1d: see the error above"
  say "build: ${#left[@]} packages. Compiling them the first time takes 10 to 30 minutes on two cores: SP1's prover is large"
  started=$(now)
  # The last lines are the exit status of cargo, and bash's and its children's processor time.
  # All members of the workspace select features, so that nothing is compiled again for the tests.
  exec {messages}< <(
    code=0
    cargo build "${profile[@]}" --locked --workspace --bin sp1d --quiet --message-format json-render-diagnostics || code=$?
    echo "end $code"
    times
  )
  while :; do
    if read -r -t 2 -u "$messages" line; then
      line=$pending$line pending=
      if [[ $line == 'end '* ]]; then
        status=${line#end }
        break
      fi
      artifact_package "$line"
      if [ -n "$package" ] && [ -n "${left[$package]:-}" ]; then
        built=$((built + left[$package]))
        unset "left[$package]"
      fi
    # An exit status above 128 is the end of the wait, perhaps in the middle of a line.
    elif [ $? -le 128 ]; then
      break
    else
      pending+=$line
    fi
    # At most a line in 5 s, and one in a minute if the percentage stays.
    if [ $((SECONDS - shown_at)) -ge 60 ] ||
      { [ $((SECONDS - shown_at)) -ge 5 ] && [ $((100 * built / total)) -ne "$shown" ]; }; then
      shown=$((100 * built / total)) shown_at=$SECONDS
      text="build: $shown %, ${#left[@]} packages left"
      if [ ${#left[@]} -gt 0 ] && [ ${#left[@]} -le 4 ]; then text+=" ($(remaining "${!left[@]}"))"; fi
      progress "$text, $(since "$started") s"
    fi
  done
  # Ends the replaced line.
  if [ -t 2 ] && [ "$shown" -ge 0 ]; then say ""; fi
  build_seconds=$(since "$started")
  read -r -u "$messages" line || true
  read -r -u "$messages" line || true
  build_processor_seconds=$(printf '%s\n' "$line" | tr 'ms' '  ' | awk '{ printf "%.1f", $1 * 60 + $2 + $3 * 60 + $4 }')
  exec {messages}<&-
  [ "$status" = 0 ] || die "the build failed: see the errors above"
  say "build: done in $build_seconds s, with $build_processor_seconds s of processor time"
}

# absolute PATH: prints the path as seen from the folder where the user called `./x`.
absolute() {
  if [[ $1 == /* ]]; then echo "$1"; else echo "$called_in/$1"; fi
}

# The names of packages, without their versions.
remaining() {
  local names=("${@%@*}")
  echo "${names[*]}"
}

demo() {
  local binary='' json='' document started arguments=()
  local download_seconds=null build_seconds=null build_processor_seconds=null
  while [ $# -gt 0 ]; do
    case $1 in
      -h|--help) demo_usage; return ;;
      --json) json=1 ;;
      --binary|--steps|--output)
        [ $# -ge 2 ] || die "$1 needs a value (./x demo --help)"
        case $1 in
          --binary) binary=$(absolute "$2") ;;
          --steps) [[ $2 =~ ^[0-9]{1,9}$ ]] || die "invalid --steps $2: it is not a whole number"; arguments+=("$1" "$2") ;;
          --output)
            [ -d "$(dirname "$(absolute "$2")")" ] || die "invalid --output $2: its folder does not exist"
            arguments+=("$1" "$(absolute "$2")") ;;
        esac
        shift ;;
      *) die "unknown option $1 (./x demo --help)" ;;
    esac
    shift
  done
  if [ -n "$binary" ] && ! { [ -f "$binary" ] && [ -x "$binary" ]; }; then
    die "invalid --binary $binary: it is not a program that can be run"
  fi
  check_memory
  if [ -z "$binary" ]; then
    setup
    say "download: the sources of SP1 and of its dependencies"
    started=$(now)
    cargo fetch --locked --target x86_64-unknown-linux-gnu || die "the download failed: see the errors above"
    download_seconds=$(since "$started")
    build_demo
    binary=$(target_folder)/checked/sp1d
  fi
  if [ -z "$json" ]; then exec "$binary" demo "${arguments[@]}"; fi
  document=$("$binary" demo --json "${arguments[@]}")
  # The object of `sp1d demo`, with the times before it in front.
  printf '{"download_seconds":%s,"build_seconds":%s,"build_processor_seconds":%s,%s\n' \
    "$download_seconds" "$build_seconds" "$build_processor_seconds" "${document#\{}"
}
