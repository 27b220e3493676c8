#!/usr/bin/env bash
# Runs one fuzzer for FUZZ_SECONDS (60), starting from its corpus: tests/fuzz/run.sh BINARY
#
# Inputs that reach new code are kept in build/corpus/NAME, from which the next run starts. An input
# that crashes, hangs or takes too much memory is left beside them as build/corpus/NAME-crash-...
# and fails the run. -max_len is set because libFuzzer stops at 4096 bytes by default, and clients
# send longer inputs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binary=$1
name=$(basename "$binary")
found=build/corpus/$name
mkdir -p "$found"
exec "$binary" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=65536 -timeout=10 -rss_limit_mb=4096 \
  -print_final_stats=1 -artifact_prefix="$found-" "$found" "tests/fuzz/corpus/$name"
