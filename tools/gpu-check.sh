# `./x gpu-check`: proves on the GPUs of this machine, kills a prover, and writes figures. It compiles nothing and needs
# no network: copy this repository with target/gpu to a machine with a GPU.
#
# `./x` reads this file. It provides `called_in`, `say` and `die`.

gpu_check_usage() {
  cat <<'TEXT'
Usage: ./x gpu-check [--binary PATH] [--gpus LIST] [--transactions N] [--output FOLDER]

Starts a worker on the GPUs of this machine and proves a block of Ethereum transactions: a core proof, then a compressed
proof during which one prover process is killed. Verifies both. Takes some minutes.

  --binary PATH     sp1d with GPU support [default: target/gpu/sp1d, as `./x gpu` builds it]
  --gpus LIST       `all`, or numbers separated by commas [default: all]
  --transactions N  transactions of the block [default: 110, 9.3 million cycles]
  --output FOLDER   folder for proofs, logs and figures [default: target/gpu-check]

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

# gpu_wait WHAT SECONDS COMMAND…: waits until the command succeeds.
gpu_wait() {
  local what=$1 deadline=$((SECONDS + $2)); shift 2
  until "$@"; do
    kill -0 "$gpu_worker" 2>/dev/null || gpu_give_up "the worker ended before: $what"
    [ "$SECONDS" -lt "$deadline" ] || gpu_give_up "gave up waiting for: $what"
    sleep 0.2
  done
}

gpu_has_more() { [ "$(gpu_count "$1")" -gt "$2" ]; }

gpu_note() { printf '%s\n' "$*" | tee -a "$gpu_output/summary.txt" >&2; }

# Ends what this check has started, by process id.
gpu_end() {
  local process
  for process in ${gpu_sampler:-} ${gpu_worker:-}; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
}

# gpu_prove MODE FILE
gpu_prove() {
  "$gpu_binary" prove --workers "$gpu_output/distributed.json" --elf guests/elf/evm --input "u32:$gpu_transactions" --input u64:1 \
    --mode "$1" --output "$gpu_output/$2" --json >"$gpu_output/$1.json" 2>"$gpu_output/$1.log"
}

gpu_check() {
  gpu_binary=target/gpu/sp1d gpu_output=target/gpu-check gpu_transactions=110
  local gpus=all port=18081 started loaded before proving status
  while [ $# -gt 0 ]; do
    case $1 in
      -h|--help) gpu_check_usage; return ;;
      --binary|--gpus|--transactions|--output)
        [ $# -ge 2 ] || die "$1 needs a value (./x gpu-check --help)"
        case $1 in
          --binary) gpu_binary=$2; [[ $2 == /* ]] || gpu_binary=$called_in/$2 ;;
          --gpus) gpus=$2 ;;
          --transactions) [[ $2 =~ ^[0-9]{1,6}$ ]] || die "invalid --transactions $2: it is not a whole number"; gpu_transactions=$2 ;;
          --output) gpu_output=$2; [[ $2 == /* ]] || gpu_output=$called_in/$2 ;;
        esac
        shift ;;
      *) gpu_check_usage >&2; exit 2 ;;
    esac
    shift
  done
  [ -x "$gpu_binary" ] || die "$gpu_binary is not a program: build it with \`./x gpu\`, or name it with --binary"
  mkdir -p "$gpu_output"
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
  gpu_wait "the first prover to load" 600 gpu_has_more 'prover ready' 0
  gpu_note "prover loaded: $(gpu_since "$started") s"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,index,memory.used,utilization.gpu,temperature.gpu,power.draw --format=csv,noheader,nounits \
      --loop=1 >"$gpu_output/gpu.csv" 2>/dev/null &
    gpu_sampler=$!
  fi

  started=$(gpu_clock)
  gpu_prove core core.bin || { tail -n 5 "$gpu_output/core.log" >&2; die "the core proof failed: see $gpu_output"; }
  gpu_note "core proof: $(gpu_since "$started") s, $(gpu_count 'attempt proven') attempts"
  # Peak and locked memory of each prover.
  for status in $(gpu_provers); do
    gpu_note "prover $status: $(grep -E '^(VmHWM|VmRSS|VmLck|VmPin):' "/proc/$status/status" | tr -s '\t ' ' ' | paste -sd,)"
  done

  loaded=$(gpu_count 'prover ready') before=$(gpu_count 'attempt proven')
  started=$(gpu_clock)
  gpu_prove compressed compressed.bin &
  proving=$!
  gpu_wait "the first attempt of the compressed proof" 600 gpu_has_more 'attempt proven' "$before"
  status=$(gpu_provers | awk '{ print $1; exit }')
  gpu_note "prover $status killed after $(gpu_since "$started") s"
  kill -KILL "$status"
  gpu_wait "the killed prover to load again" 600 gpu_has_more 'prover ready' "$loaded"
  wait "$proving" || { tail -n 5 "$gpu_output/compressed.log" >&2; die "the compressed proof failed: see $gpu_output"; }
  gpu_note "compressed proof with one killed prover: $(gpu_since "$started") s"
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
