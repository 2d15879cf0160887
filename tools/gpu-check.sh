# `./x gpu-check`: proves on the GPUs of this machine, kills a prover, and writes figures. It compiles nothing and needs
# no network: copy this repository with target/gpu, or with one packed file, to a machine with a GPU.
#
# `./x` reads this file. It provides `called_in`, `say` and `die`.

gpu_check_usage() {
  cat <<'TEXT'
Usage: ./x gpu-check [--binary PATH] [--gpus LIST] [--transactions N] [--output FOLDER] [--limit SECONDS]

Starts a worker on the GPUs of this machine and proves a block of Ethereum transactions: a core proof, then a compressed
proof during which one prover process is killed. Verifies both. Takes some minutes, and compiles nothing.

  --binary PATH     sp1d with GPU support, or a file that `./x gpu --pack` wrote [default: target/gpu/sp1d, as `./x gpu`
                    builds it]
  --gpus LIST       `all`, or numbers separated by commas [default: all]
  --transactions N  transactions of the block [default: 110, 10.3 million cycles]
  --output FOLDER   folder for proofs, logs and figures [default: target/gpu-check]
  --limit SECONDS   time until the proofs must be made; then the check ends what it has started, writes the figures that
                    it has, and fails [default: 480]. Figures and verification take up to 110 seconds more

FOLDER gets at most these eight files: summary.txt with the figures, core.bin, compressed.bin, attempts.txt, gpu.csv,
doctor.txt, prove.log and worker.log. They are written as far as the check came. The exit code is 0 if everything
succeeded, else 2; summary.txt then has the reason. To verify the proofs on another machine, without a GPU:
  sp1d verify --elf guests/elf/evm FOLDER/core.bin
TEXT
}

# The time in seconds, and the seconds since such a time with one digit.
gpu_clock() { date +%s.%N; }
gpu_since() { awk -v from="$1" -v to="$(gpu_clock)" 'BEGIN { printf "%.1f", to - from }'; }

gpu_note() { printf '%s\n' "$*" | tee -a "$gpu_output/summary.txt" >&2; }

# gpu_fail WHY [LOG]: records the failure beside the figures, shows the end of a log, and ends the check.
gpu_fail() {
  [ $# -lt 2 ] || tail -n 20 "$gpu_output/$2" >&2 || true
  printf 'FAILED: %s\n' "$1" >>"$gpu_output/summary.txt"
  die "$1 (see $gpu_output)"
}

# gpu_memory WHEN: notes the free memory of the machine. Pinned memory belongs to the driver, so it is in none of the
# figures of a process.
gpu_memory() {
  gpu_note "$(awk -v when="$1" '/^MemAvailable:/ { printf "free memory of the machine %s: %.1f GB", when, $2 * 1024 / 1e9 }' /proc/meminfo)"
}

# The prover processes of the worker, oldest first. `children` in /proc/PID/task is missing in some sandboxes.
gpu_provers() {
  { grep -lsE "^PPid:[[:space:]]+$gpu_worker$" /proc/[0-9]*/status || true; } | cut -d/ -f3 | sort -n
}

gpu_count() { grep -c "$1" "$gpu_output/worker.log" 2>/dev/null || true; }

gpu_has_more() { [ "$(gpu_count "$1")" -gt "$2" ]; }

gpu_all_ready() { [ "$(gpu_count 'prover ready')" -ge "$gpu_number" ]; }

# Succeeds once the prover that has ended is loaded again. Other provers may load meanwhile.
gpu_is_back() {
  awk '{ number = match($0, / prover=[0-9]+/) ? substr($0, RSTART, RLENGTH) : "" }
    /prover ended prover=/ { ended = number; back = 0 }
    /prover ready/ && number == ended { back = 1 }
    END { exit !(ended != "" && back) }' "$gpu_output/worker.log"
}

# gpu_wait WHAT COMMAND…: waits until the command succeeds. Fails if the worker, or the proof in the background, ends.
gpu_wait() {
  local what=$1; shift
  until "$@"; do
    kill -0 "$gpu_worker" 2>/dev/null || gpu_fail "the worker ended before: $what" worker.log
    [ -z "$gpu_proving" ] || kill -0 "$gpu_proving" 2>/dev/null || gpu_fail "the proof ended before: $what" prove.log
    [ "$SECONDS" -lt "$gpu_deadline" ] || gpu_fail "the time was over before: $what" worker.log
    sleep 0.2
  done
}

# gpu_number_of LIST: prints how many provers a worker with `--gpus LIST` starts.
gpu_number_of() {
  if [ "$1" != all ]; then tr ',' '\n' <<<"$1" | sort -nu | wc -l; return; fi
  # The worker follows this variable too.
  if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | sort -u | wc -l; return; fi
  local found
  found=$(timeout 60 nvidia-smi -L 2>/dev/null | grep -c '^GPU ') || true
  [ "${found:-0}" -gt 0 ] && echo "$found" || echo 1
}

# gpu_prove MODE FILE: starts a proof in the background. `timeout` ends `sp1d` with itself.
gpu_prove() {
  local left=$((gpu_deadline - SECONDS))
  [ "$left" -gt 0 ] || gpu_fail "the time was over before: the $1 proof"
  printf '== %s\n' "$1" >>"$gpu_output/prove.log"
  timeout --kill-after=10 "$left" "$gpu_binary" prove --workers "$gpu_work/distributed.json" --elf guests/elf/evm \
    --input "u32:$gpu_transactions" --input u64:1 --mode "$1" --output "$gpu_output/$2" --json >>"$gpu_output/prove.log" 2>&1 &
  gpu_proving=$!
}

# gpu_proven MODE: waits for the proof in the background.
gpu_proven() {
  local code=0
  wait "$gpu_proving" || code=$?
  gpu_proving=''
  [ "$code" != 0 ] || return 0
  # `timeout` has ended it.
  [ "$SECONDS" -lt "$gpu_deadline" ] || gpu_fail "the time was over during the $1 proof" prove.log
  gpu_fail "the $1 proof failed with exit code $code" prove.log
}

# gpu_verify MODE FILE
gpu_verify() {
  local code=0
  gpu_note "$1 proof: $(stat -c %s "$gpu_output/$2") bytes"
  timeout --kill-after=5 40 "$gpu_binary" verify --elf guests/elf/evm "$gpu_output/$2" >"$gpu_work/verified" 2>&1 || code=$?
  tee -a "$gpu_output/summary.txt" <"$gpu_work/verified" >&2
  [ "$code" = 0 ] || gpu_fail "the $1 proof was not verified: exit code $code"
}

# gpu_stop PROCESS: ends a process that this check has started. A worker gets the time to end its provers.
gpu_stop() {
  local round
  kill "$1" 2>/dev/null || return 0
  for ((round = 0; round < 125; round++)); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.2
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# Notes the peaks so far of the memory of the provers, which their ends would erase. Some kernels report no peak.
gpu_prover_memory() {
  local process
  for process in $(gpu_provers); do
    gpu_note "prover $process: $(grep -E '^(VmHWM|VmRSS|VmLck|VmPin):' "/proc/$process/status" 2>/dev/null | tr -s '\t ' ' ' | paste -sd,)"
  done
}

# Ends what this check has started, and writes the figures. Also runs after a failure.
gpu_finish() {
  local process
  [ -z "$gpu_worker" ] || gpu_prover_memory
  for process in $gpu_proving $gpu_sampler $gpu_worker; do gpu_stop "$process"; done
  gpu_proving='' gpu_sampler='' gpu_worker=''
  if [ -s "$gpu_output/gpu.csv" ]; then
    # A value that the GPU does not report is a word in brackets.
    awk -F', ' '{ seen[$2]; if ($3 + 0 > memory[$2]) memory[$2] = $3 + 0; if ($6 + 0 > watts[$2]) watts[$2] = $6 + 0; busy[$2] += $4; count[$2]++ }
      END { for (gpu in seen) printf "GPU %s: at most %d MiB, %.0f W, %.0f %% busy on average\n", gpu, memory[gpu], watts[gpu], busy[gpu] / count[gpu] }' \
      "$gpu_output/gpu.csv" | tee -a "$gpu_output/summary.txt" >&2
  fi
  if grep 'attempt proven' "$gpu_output/worker.log" >"$gpu_output/attempts.txt" 2>/dev/null; then
    awk '{ kind = match($0, /kind=[^}]*/) ? substr($0, RSTART + 5, RLENGTH - 5) : "unknown"
        seconds = match($0, / proving_seconds=[0-9.]+/) ? substr($0, RSTART + 17, RLENGTH - 17) + 0 : 0
        count[kind]++; sum[kind] += seconds
        if (count[kind] == 1 || seconds < least[kind]) least[kind] = seconds
        if (seconds > most[kind]) most[kind] = seconds }
      END { for (kind in count) printf "%s: %d attempts, %.2f s of proving on average, %.2f to %.2f s\n", kind, count[kind], sum[kind] / count[kind], least[kind], most[kind] }' \
      "$gpu_output/attempts.txt" | sort | tee -a "$gpu_output/summary.txt" >&2
  fi
  gpu_note "attempts that failed: $(gpu_count 'attempt failed')"
}

# Runs at the end of the shell: after a failure, and after a signal.
gpu_at_exit() {
  set +e
  [ -z "$gpu_worker" ] || gpu_finish
  rm -rf "$gpu_work"
}

gpu_check() {
  gpu_binary=target/gpu/sp1d gpu_output=target/gpu-check gpu_transactions=110
  gpu_proving='' gpu_sampler='' gpu_worker='' gpu_deadline=$((SECONDS + 480))
  local gpus=all port=18081 version started before victim
  while [ $# -gt 0 ]; do
    case $1 in
      -h|--help) gpu_check_usage; return ;;
      --binary|--gpus|--transactions|--output|--limit)
        [ $# -ge 2 ] || die "$1 needs a value (./x gpu-check --help)"
        case $1 in
          --binary) gpu_binary=$2; [[ $2 == /* ]] || gpu_binary=$called_in/$2 ;;
          --gpus) gpus=$2 ;;
          --transactions) [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "invalid --transactions $2: it is not a whole number"; gpu_transactions=$2 ;;
          --limit) [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || die "invalid --limit $2: it is not a number of seconds"; gpu_deadline=$((SECONDS + $2)) ;;
          --output) gpu_output=$2; [[ $2 == /* ]] || gpu_output=$called_in/$2 ;;
        esac
        shift ;;
      *) gpu_check_usage >&2; exit 2 ;;
    esac
    shift
  done
  # The check reads log lines in their usual form.
  unset SP1D_LOG SP1D_LOG_FORMAT
  mkdir -p "$gpu_output" target
  # Of an earlier check. Otherwise its proofs would look like proofs of this one.
  rm -f "$gpu_output"/{summary.txt,core.bin,compressed.bin,attempts.txt,gpu.csv,doctor.txt,prove.log,worker.log}
  # Not in the output folder: people copy that one.
  gpu_work=$(mktemp -d "$PWD/target/gpu-check.XXXXXX")
  trap gpu_at_exit EXIT
  if [[ $gpu_binary == *.tar.xz ]]; then
    tar -xJf "$gpu_binary" -C "$gpu_work" || die "cannot unpack $gpu_binary: it needs tar and xz"
    gpu_binary=$gpu_work/sp1d
  fi
  [ -f "$gpu_binary" ] && [ -x "$gpu_binary" ] || die "$gpu_binary is not a program: build it with \`./x gpu\`, or name it with --binary"
  printf '["127.0.0.1:%s"]\n' "$port" >"$gpu_work/distributed.json"
  version=$("$gpu_binary" --version 2>"$gpu_work/version") ||
    gpu_fail "$gpu_binary does not run on this machine: $(head -n 1 "$gpu_work/version")"
  gpu_note "${version%%$'\n'*}, $(date -u +%Y-%m-%dT%H:%M:%SZ), $(nproc) cores, kernel $(uname -r)"
  timeout 60 nvidia-smi --query-gpu=index,name,driver_version,memory.total,compute_cap --format=csv,noheader 2>/dev/null |
    tee -a "$gpu_output/summary.txt" >&2 || true
  timeout 90 "$gpu_binary" doctor >"$gpu_output/doctor.txt" 2>&1 || say "sp1d doctor found problems: see $gpu_output/doctor.txt"

  gpu_memory "before the worker"
  gpu_number=$(gpu_number_of "$gpus")
  started=$(gpu_clock)
  "$gpu_binary" worker --listen "127.0.0.1:$port" --orchestrator 127.0.0.1 --gpus "$gpus" --name gpu-check --grace 0 \
    >"$gpu_output/worker.log" 2>&1 &
  gpu_worker=$!
  gpu_wait "the first prover to load" gpu_has_more 'prover ready' 0
  gpu_note "first prover loaded: $(gpu_since "$started") s"
  gpu_wait "$gpu_number provers to load" gpu_all_ready
  gpu_note "$gpu_number provers loaded: $(gpu_since "$started") s"
  gpu_memory "with loaded provers"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,index,memory.used,utilization.gpu,temperature.gpu,power.draw --format=csv,noheader,nounits \
      --loop-ms=250 >"$gpu_output/gpu.csv" 2>/dev/null &
    gpu_sampler=$!
  fi

  started=$(gpu_clock)
  gpu_prove core core.bin
  gpu_proven core
  gpu_note "core proof: $(gpu_since "$started") s, $(gpu_count 'attempt proven') attempts"
  gpu_memory "after the core proof"
  gpu_prover_memory

  before=$(gpu_count 'attempt proven')
  started=$(gpu_clock)
  gpu_prove compressed compressed.bin
  gpu_wait "the first attempt of the compressed proof" gpu_has_more 'attempt proven' "$before"
  victim=$(gpu_provers | sed -n 1p)
  [ -n "$victim" ] || gpu_fail "the worker has no prover process to kill" worker.log
  kill -KILL "$victim" || gpu_fail "prover $victim ended before it was killed" worker.log
  gpu_note "prover $victim killed after $(gpu_since "$started") s"
  gpu_proven compressed
  gpu_note "compressed proof with one killed prover: $(gpu_since "$started") s"
  # The proof may have ended on other GPUs before.
  gpu_wait "the killed prover to load again" gpu_is_back
  gpu_note "the killed prover was loaded again"
  gpu_finish
  gpu_verify core core.bin
  gpu_verify compressed compressed.bin
  gpu_note "both proofs verify; figures: $gpu_output/summary.txt, attempts: $gpu_output/attempts.txt"
}
