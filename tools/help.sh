# The help of commands of `./x` that have no file of their own: `./x COMMAND --help`. Lines have at most 110 columns.
#
# `./x` reads this file when a user asks for such a help.

test_usage() {
  cat <<'TEXT'
Usage: ./x test [--full [service|units]]

Runs all fast tests. One of them proves a program with two provers and needs 10.6 GB of memory. Some open the
status page in headless Chromium and write pictures to test-output, or run nginx, Caddy, an object store and a
program on plain sp1-sdk, whose build compiles SP1 again.

  --full          also make compressed and wrapped proofs, proofs of proofs, and real proofs for the program
                  on plain sp1-sdk, and run the other slow tests (more than two hours)
  --full service  run only the slow test of the service (about 20 minutes)
  --full units    run only the slow test of the systemd units: proofs by both units as they are (about two
                  minutes)
TEXT
}

bench_usage() {
  cat <<'TEXT'
Usage: ./x bench NAME [OPTIONS]        ./x bench NAME --help lists the options of a bench

These benches make real proofs:
  overhead   compare sp1-sdk's CPU prover, one worker and two workers (about 40 minutes). --program evm and
             --mode compressed measure other proofs
  scaling    compare one prover of one thread with two, each on a core of its own (about 15 minutes)
  evm        compare sp1-sdk's CPU prover and one worker on a block of Ethereum transactions (about 70 minutes
             for each of three rounds)
  cuts       time and memory by cut (about 15 minutes)
  memory     memory of attempts by program, cut and kind (about 30 minutes)
  setup      time of a program's verifying key (about a minute)
With --gpus 0,... or --gpus all, overhead, evm, cuts and memory measure GPUs: overhead and evm beside the
processor, cuts and memory instead of it. They then write docs/bench/*-gpu.json.

These benches compile no prover:
  hostile    what hostile workers, clients and connections cost the others (about 20 minutes). --list names
             the attacks, --only NAME,... selects some. Fails if a limit is broken
  dispatch   tasks per second and waits of tasks by number of connections (about 3 minutes)
  hub        processor time and throughput of an orchestrator by size of the records and number of
             connections, and what a slow connection costs the others (about 15 minutes)
  artifacts  throughput of artifacts compared to a raw TCP copy and to Redis (about 2 minutes)
  recovery   time until work continues after the loss of a worker or of a connection (about 2 minutes)
  tls        what TLS costs artifacts, and how long handshakes take (about 3 minutes)
  simulate   time of a run by number of workers, with the real scheduler in virtual time, compared to the
             least possible time (about a minute)
  counts     count the instructions of hot paths of the scheduler and the orchestrator with valgrind, and
             record them (about a minute). ./x check compares with the recorded counts
  scheduler  scheduler events per second, by number of workers
With --flame FOLDER, dispatch, hub and artifacts record flame graphs of both processes instead.

Each bench prints a table. All but scheduler write docs/bench/NAME.json, and some write a plot.
TEXT
}

check_usage() {
  cat <<'TEXT'
Usage: ./x check

Checks formatting, prose, import cycles, names, spelling, lints, dependencies, units, the Helm chart, the
description of the HTTP interface, instruction counts, and documentation. Changes nothing.
TEXT
}

fix_usage() {
  cat <<'TEXT'
Usage: ./x fix

Formats, applies the corrections that the lints suggest, and generates the reference pages.
TEXT
}

book_usage() {
  cat <<'TEXT'
Usage: ./x book

Builds the documentation as a website in target/book.
TEXT
}
