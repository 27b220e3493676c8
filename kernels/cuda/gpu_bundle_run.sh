#!/bin/sh
# Runs every test and benchmark in this folder. The last line is "N passed, N failed, N skipped";
# the exit status is nonzero if anything failed. Without a usable GPU, everything is skipped and the
# reason is printed.
cd "$(dirname "$0")" || exit 1
passed=0 failed=0 skipped=0

count() {  # count PATTERN FILE
  grep -c "$1" "$2" || true
}

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
for test in ./*_test; do
  echo "== $test"
  "$test" --device cuda >"$log" 2>&1
  status=$?
  cat "$log"
  if [ "$status" -eq 77 ]; then  # the device is missing
    skipped=$((skipped + 1))
    continue
  fi
  ok=$(count '^\[       OK \]' "$log")
  bad=$(count '^\[  FAILED  \] .* ms)$' "$log")
  passed=$((passed + ok))
  failed=$((failed + bad))
  skipped=$((skipped + $(count '^\[  SKIPPED \] .* ms)$' "$log")))
  # A nonzero status without a failed test, such as a crash, counts as a failure too.
  [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && failed=$((failed + 1))
done
for benchmark in ./*_benchmark; do
  echo "== $benchmark"
  "$benchmark" >"$log" 2>&1
  status=$?
  cat "$log"
  if [ "$status" -ne 0 ]; then
    failed=$((failed + 1))
  elif grep -q 'ERROR OCCURRED' "$log"; then
    if grep -q 'no usable GPU' "$log"; then skipped=$((skipped + 1)); else failed=$((failed + 1)); fi
  else
    passed=$((passed + 1))
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
