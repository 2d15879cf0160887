# `./x gpu-check`: proves on the GPUs of this machine, kills a prover, and writes figures. It compiles nothing and needs
# no network: copy this repository with target/gpu, or with one packed file, to a machine with a GPU.
#
# `./x` reads this file. It provides `called_in`, `say` and `die`.

gpu_check_usage() {
  cat <<'TEXT'
Usage: ./x gpu-check [--binary PATH] [--gpus LIST] [--transactions N] [--output FOLDER] [--limit SECONDS]

Starts a worker on the GPUs of this machine and proves a block of Ethereum transactions: a core proof, then a compressed
proof during which one prover process is killed. Verifies both. Takes some minutes.

  --binary PATH     sp1d with GPU support, or a file that `./x gpu --pack` wrote [default: target/gpu/sp1d, as `./x gpu`
                    builds it]
  --gpus LIST       `all`, or numbers separated by commas [default: all]
  --transactions N  transactions of the block [default: 110, 9.3 million cycles]
  --output FOLDER   folder for proofs, logs and figures [default: target/gpu-check]
  --limit SECONDS   time for everything; then the check ends what it has started, and fails [default: 540]

FOLDER/summary.txt has the figures. To verify the proofs on another machine, without a GPU:
  sp1d verify --elf guests/elf/evm FOLDER/core.bin
TEXT
}

# Prints seconds with one digit.
gpu_clock() { date +%s.%N; }
gpu_since() { awk -v from="$1" -v to="$(gpu_clock)" 'BEGIN { printf "%.1f", to - from }'; }

# The prover processes of the worker.
gpu_provers() { cat "/proc/$gpu_worker"/task/*/children 2>/dev/null || true; }

gpu_count() { grep -c "$1" "$gpu_output/worker.log" 2>/dev/null || true; }

gpu_give_up() { tail -n 20 "$gpu_output/worker.log" >&2; die "$1"; }

# gpu_wait WHAT COMMAND…: waits until the command succeeds. Fails if the worker, or the proof in the background, ends.
gpu_wait() {
  local what=$1; shift
  until "$@"; do
    kill -0 "$gpu_worker" 2>/dev/null || gpu_give_up "the worker ended before: $what"
    [ -z "$gpu_proving" ] || kill -0 "$gpu_proving" 2>/dev/null || gpu_proof_failed compressed "it ended before: $what"
    [ "$SECONDS" -lt "$gpu_deadline" ] || gpu_give_up "the time was over before: $what"
    sleep 0.2
  done
}

# gpu_proof_failed MODE WHY
gpu_proof_failed() { tail -n 5 "$gpu_output/$1.log" >&2; die "the $1 proof failed: $2 (see $gpu_output)"; }

gpu_has_more() { [ "$(gpu_count "$1")" -gt "$2" ]; }

gpu_all_ready() { [ "$(gpu_count 'prover ready')" -ge "$gpu_number" ]; }

# Succeeds once the prover that has ended is loaded again. Other provers may load meanwhile.
gpu_is_back() {
  awk '{ number = match($0, / prover=[0-9]+/) ? substr($0, RSTART, RLENGTH) : "" }
    /prover ended and is restarted/ { ended = number; back = 0 }
    /prover ready/ && number == ended { back = 1 }
    END { exit !(ended != "" && back) }' "$gpu_output/worker.log"
}

# gpu_number_of LIST: prints how many provers a worker with `--gpus LIST` starts.
gpu_number_of() {
  if [ "$1" != all ]; then tr ',' '\n' <<<"$1" | sort -nu | wc -l; return; fi
  # The worker follows this variable too.
  if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | sort -u | wc -l; return; fi
  local found
  found=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ') || true
  [ "${found:-0}" -gt 0 ] && echo "$found" || echo 1
}

gpu_note() { printf '%s\n' "$*" | tee -a "$gpu_output/summary.txt" >&2; }

# Ends what this check has started, by process id.
gpu_end() {
  local process
  for process in ${gpu_proving:-} ${gpu_sampler:-} ${gpu_worker:-}; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
}

# gpu_prove MODE FILE: replaces the shell, so run it in a subshell. The process id is then that of `timeout`, which ends
# `sp1d` with itself.
gpu_prove() {
  local left=$((gpu_deadline - SECONDS))
  [ "$left" -gt 0 ] || { echo "the time is over" >"$gpu_output/$1.log"; return 1; }
  exec timeout "$left" "$gpu_binary" prove --workers "$gpu_output/distributed.json" --elf guests/elf/evm --input "u32:$gpu_transactions" --input u64:1 \
    --mode "$1" --output "$gpu_output/$2" --json >"$gpu_output/$1.json" 2>"$gpu_output/$1.log"
}

gpu_check() {
  gpu_binary=target/gpu/sp1d gpu_output=target/gpu-check gpu_transactions=110
  gpu_proving='' gpu_deadline=$((SECONDS + 540))
  local gpus=all port=18081 started before status victim
  while [ $# -gt 0 ]; do
    case $1 in
      -h|--help) gpu_check_usage; return ;;
      --binary|--gpus|--transactions|--output|--limit)
        [ $# -ge 2 ] || die "$1 needs a value (./x gpu-check --help)"
        case $1 in
          --binary) gpu_binary=$2; [[ $2 == /* ]] || gpu_binary=$called_in/$2 ;;
          --gpus) gpus=$2 ;;
          --transactions) [[ $2 =~ ^[0-9]{1,6}$ ]] || die "invalid --transactions $2: it is not a whole number"; gpu_transactions=$2 ;;
          --limit) [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || die "invalid --limit $2: it is not a number of seconds"; gpu_deadline=$((SECONDS + $2)) ;;
          --output) gpu_output=$2; [[ $2 == /* ]] || gpu_output=$called_in/$2 ;;
        esac
        shift ;;
      *) gpu_check_usage >&2; exit 2 ;;
    esac
    shift
  done
  mkdir -p "$gpu_output"
  if [[ $gpu_binary == *.tar.xz ]]; then
    mkdir -p "$gpu_output/unpacked"
    tar -xJf "$gpu_binary" -C "$gpu_output/unpacked" || die "cannot unpack $gpu_binary: it needs tar and xz"
    gpu_binary=$gpu_output/unpacked/sp1d
  fi
  [ -x "$gpu_binary" ] || die "$gpu_binary is not a program: build it with \`./x gpu\`, or name it with --binary"
  : >"$gpu_output/summary.txt"
  printf '["127.0.0.1:%s"]\n' "$port" >"$gpu_output/distributed.json"
  gpu_note "$("$gpu_binary" --version), $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  nvidia-smi --query-gpu=index,name,driver_version,memory.total,compute_cap --format=csv,noheader 2>/dev/null |
    tee -a "$gpu_output/summary.txt" >&2 || true
  "$gpu_binary" doctor >"$gpu_output/doctor.txt" 2>&1 || say "sp1d doctor found problems: see $gpu_output/doctor.txt"

  trap gpu_end EXIT
  started=$(gpu_clock)
  "$gpu_binary" worker --listen "127.0.0.1:$port" --orchestrator 127.0.0.1 --gpus "$gpus" --name gpu-check --grace 0 \
    >"$gpu_output/worker.out" 2>"$gpu_output/worker.log" &
  gpu_worker=$!
  gpu_number=$(gpu_number_of "$gpus")
  gpu_wait "the first prover to load" gpu_has_more 'prover ready' 0
  gpu_note "first prover loaded: $(gpu_since "$started") s"
  gpu_wait "$gpu_number provers to load" gpu_all_ready
  gpu_note "$gpu_number provers loaded: $(gpu_since "$started") s"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,index,memory.used,utilization.gpu,temperature.gpu,power.draw --format=csv,noheader,nounits \
      --loop=1 >"$gpu_output/gpu.csv" 2>/dev/null &
    gpu_sampler=$!
  fi

  started=$(gpu_clock)
  (gpu_prove core core.bin) || gpu_proof_failed core "sp1d ended with an error"
  gpu_note "core proof: $(gpu_since "$started") s, $(gpu_count 'attempt proven') attempts"
  # Peak and locked memory of each prover.
  for status in $(gpu_provers); do
    gpu_note "prover $status: $(grep -E '^(VmHWM|VmRSS|VmLck|VmPin):' "/proc/$status/status" | tr -s '\t ' ' ' | paste -sd,)"
  done

  before=$(gpu_count 'attempt proven')
  started=$(gpu_clock)
  gpu_prove compressed compressed.bin &
  gpu_proving=$!
  gpu_wait "the first attempt of the compressed proof" gpu_has_more 'attempt proven' "$before"
  victim=$(gpu_provers | awk '{ print $1; exit }')
  [ -n "$victim" ] || gpu_give_up "the worker has no prover process to kill"
  kill -KILL "$victim" || gpu_give_up "prover $victim ended before it was killed"
  gpu_note "prover $victim killed after $(gpu_since "$started") s"
  wait "$gpu_proving" || gpu_proof_failed compressed "sp1d ended with an error"
  gpu_proving=''
  gpu_note "compressed proof with one killed prover: $(gpu_since "$started") s"
  # The proof may have ended on other GPUs before.
  gpu_wait "the killed prover to load again" gpu_is_back
  gpu_note "the killed prover was loaded again"
  gpu_end
  trap - EXIT

  if [ -s "$gpu_output/gpu.csv" ]; then
    awk -F', ' '{ if ($3 > memory[$2]) memory[$2] = $3; if ($6 > watts[$2]) watts[$2] = $6; busy[$2] += $4; count[$2]++ }
      END { for (gpu in memory) printf "GPU %s: at most %d MiB, %.0f W, %.0f %% busy on average\n", gpu, memory[gpu], watts[gpu], busy[gpu] / count[gpu] }' \
      "$gpu_output/gpu.csv" | tee -a "$gpu_output/summary.txt" >&2
  fi
  grep 'attempt proven' "$gpu_output/worker.log" >"$gpu_output/attempts.txt" || true
  "$gpu_binary" verify --elf guests/elf/evm "$gpu_output/core.bin" 2>&1 | tee -a "$gpu_output/summary.txt" >&2
  "$gpu_binary" verify --elf guests/elf/evm "$gpu_output/compressed.bin" 2>&1 | tee -a "$gpu_output/summary.txt" >&2
  gpu_note "both proofs verify; figures: $gpu_output/summary.txt, attempts: $gpu_output/attempts.txt"
}
