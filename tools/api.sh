# Checks of the HTTP interface by tools from PyPI. ./x sources this file.

# Validates the description of the HTTP interface.
check_api() {
  if ! python_tool openapi-spec-validator 0.9.0; then
    say "the description of the HTTP interface was NOT validated: openapi-spec-validator cannot be installed from here"
    return
  fi
  "$python_tools/bin/openapi-spec-validator" docs/reference/openapi.json >&2 ||
    die "docs/reference/openapi.json is not a valid OpenAPI document: see the lines above"
}

# Waits up to 30 s until the command succeeds.
wait_until() {
  local tries
  for tries in $(seq 300); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  return 1
}

# Sends generated requests to a service with fake workers, and compares the responses with the description of the
# interface. `cargo test` has built the programs.
test_api() {
  if ! python_tool schemathesis 4.32.5; then
    say "the HTTP interface was NOT tested with generated requests: schemathesis cannot be installed from here"
    return
  fi
  local built folder worker url; built=$(target_folder)/checked; folder=$(mktemp -d)
  worker=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$built/fake-worker" --listen "$worker" >"$folder/worker" 2>&1 & local worker_process=$!
  "$built/examples/fake_serve" "$folder/state" "$worker" >"$folder/serve" 2>"$folder/log" & local service_process=$!
  # In a subshell, so that both processes end also if the test fails.
  local outcome=0
  (
    wait_until grep -q '^serving ' "$folder/serve" || die "the service did not start: $(cat "$folder/log")"
    url=$(sed -n 's/^serving //p' "$folder/serve")
    ready() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' "$url/readyz"; }
    wait_until ready || die "the fake worker is not ready: $(cat "$folder/worker")"
    # positive_data_acceptance is left out: the description cannot say which programs, inputs and proofs exist.
    # /v1/events never ends. /readyz fails as described once a generated request has removed the worker.
    "$python_tools/bin/schemathesis" run "$url/openapi.json" --seed 1 --max-examples 50 --request-timeout 20 \
      --phases examples,coverage,fuzzing --exclude-path /v1/events --exclude-path /readyz \
      --exclude-checks positive_data_acceptance >&2
  ) || outcome=$?
  kill "$worker_process" "$service_process"
  wait "$worker_process" "$service_process" 2>/dev/null || true
  rm -rf "$folder"
  [ "$outcome" = 0 ] || die "the HTTP interface differs from its description: see the lines above"
}
