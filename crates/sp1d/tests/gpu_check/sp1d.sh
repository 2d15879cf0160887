#!/usr/bin/env bash
# Stands in for sp1d in the test of `./x gpu-check`. Its processes share the folder $FAKE, and record each command line
# there. $FAKE_FAULT names what goes wrong, if anything.
set -u
printf '%s\n' "$*" >>"$FAKE/commands"
fault=${FAKE_FAULT:-}

argument() {
  local name=$1; shift
  while [ $# -gt 1 ]; do
    [ "$1" != "$name" ] || { echo "$2"; return; }
    shift
  done
}

# The worker reads the numbers of attempts, and logs them as sp1d does.
attempt() { mv "$(mktemp "$FAKE/new.XXXXXX")" "$FAKE/attempt-$1"; }

worker() {
  local prover='' number loads=0 file
  # The script cannot read other log lines.
  [ -z "${SP1D_LOG:-}${SP1D_LOG_FORMAT:-}" ] || exit 9
  if [ "$fault" = worker ]; then echo "error: no NVIDIA driver found" >&2; exit 7; fi
  exec 3<> <(:)
  # Like a worker, it ends its prover with itself.
  trap 'kill "$prover"; exit 0' TERM
  while true; do
    if [ -z "$prover" ] || ! kill -0 "$prover" 2>/dev/null; then
      if [ -n "$prover" ]; then
        echo " WARN prover ended prover=0 attempts=1 loaded=true reason=killed" >&2
        touch "$FAKE/killed"
      fi
      sleep 1000 &
      prover=$!
      echo "$prover" >>"$FAKE/provers"
      loads=$((loads + 1))
      echo " INFO prover ready prover=0 seconds=1.5 gigabytes=1.0" >&2
    fi
    for file in "$FAKE"/attempt-*; do
      [ -e "$file" ] || continue
      number=${file##*-}
      echo " INFO attempt{attempt=$number proof_id=p kind=prove_shard}: attempt proven seconds=2.5 proving_seconds=$number.5" >&2
      rm "$file"
    done
    # Not `sleep`: its process would look like a prover.
    read -rt 0.05 -u 3
  done
}

prove() {
  local mode output round
  mode=$(argument --mode "$@") output=$(argument --output "$@")
  [ "$fault" != "$mode" ] || { attempt 9; sleep 0.5; echo "error: the proof failed" >&2; exit 1; }
  if [ "$fault" = hang ]; then sleep 1000; fi
  if [ "$mode" = core ]; then attempt 1; fi
  attempt 3
  if [ "$mode" = compressed ]; then
    for ((round = 0; round < 100; round++)); do
      [ ! -e "$FAKE/killed" ] || break
      sleep 0.1
    done
    [ -e "$FAKE/killed" ] || { echo "error: no prover was killed" >&2; exit 1; }
  fi
  sleep 0.5
  echo "$mode" >"$output"
  echo '{"cycles":1}'
}

case $1 in
  --version) echo "sp1d 0.0.0" ;;
  doctor) echo "memory good"; exit 7 ;;
  worker) worker ;;
  prove) prove "$@" ;;
  verify) [ "$fault" != verify ] || { echo "error: the proof is not valid" >&2; exit 3; }; echo "valid" ;;
  *) exit 2 ;;
esac
