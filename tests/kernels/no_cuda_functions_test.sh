#!/usr/bin/env bash
# no_cuda_functions_test.sh NM STUBS CUDA: the two libraries define the same functions of
# whipsnake::kernels::cuda, so a program that links with one also links with the other.
set -euo pipefail

# functions LIBRARY: prints the signature of each public function.
functions() {
  "$1" -C --defined-only --extern-only "$2" | grep -oE ' T whipsnake::kernels::cuda::.*' |
    grep -v '(anonymous namespace)' | sort -u
}

stubs=$(functions "$1" "$2")
cuda=$(functions "$1" "$3")
[[ -n $cuda ]] || {
  echo "no functions of whipsnake::kernels::cuda in $3" >&2
  exit 1
}
diff <(echo "$stubs") <(echo "$cuda") || {
  echo "the functions differ: < only in kernels/no_cuda, > only in kernels/cuda" >&2
  exit 1
}
