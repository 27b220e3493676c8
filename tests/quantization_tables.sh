#!/usr/bin/env bash
# The tables of docs/quantization.md and docs/transformers.md: what 8 bits cost, in Markdown.
#
#   tests/quantization_tables.sh WHIPSNAKE CALIBRATION TEXT OUT [STRESS_MODEL]
#
# CALIBRATION and TEXT are what `quantize` and `evaluate` take; STRESS_MODEL is the directory that
# tests/oracles/stress_model.py writes. Quantized models go to OUT and are not made again, so that a run that was
# stopped goes on. Run from the repository's root.
set -euo pipefail

(($# == 4 || $# == 5)) || {
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
program=$1 calibration=$2 text=$3 out=$4 stress=${5-}
mamba=deploy/models/mamba-demo gpt2=deploy/models/gpt2-crrelu-demo
mamba_schemes=(static-w8a8 smoothquant-w8a8 quamba-w8a8-norot quamba-w8a8-nopct quarot-w8a8 quamba-w8a8)
mkdir -p "$out"

# value KEY JSON: prints the number under KEY in JSON.
value() {
  tr -d '\n ' <<<"$2" | grep -oE "\"$1\":[-0-9.e+]+" | head -n 1 | cut -d : -f 2
}

# perplexity WINDOW DIRECTORY [FLAGS of evaluate]
perplexity() {
  value perplexity "$("$program" evaluate --model "$2" --text "$text" --window "$1" --json "${@:3}")"
}

# quantized NAME MODEL [FLAGS of quantize]: makes OUT/NAME unless it exists.
quantized() {
  [[ -d $out/$1 ]] || "$program" quantize --model "$2" --calibration "$calibration" --out "$out/$1" "${@:3}" \
    >"$out/$1.log"
}

heading() {
  printf '\n%s\n\n| | perplexity | against fp32 |\n| --- | ---: | ---: |\n' "$1"
}

# row LABEL PERPLEXITY EXACT
row() {
  awk -v label="$1" -v seen="$2" -v exact="$3" \
    'BEGIN { printf "| %s | %.4f | %+.2f%% |\n", label, seen, 100 * (seen / exact - 1) }'
}

# schemes NAME MODEL [FLAGS of quantize]: prints the table of a Mamba under every scheme.
schemes() {
  local name=$1 model=$2 exact scheme
  exact=$(perplexity 256 "$model")
  heading "$name ${*:3}"
  row fp32 "$exact" "$exact"
  for scheme in "${mamba_schemes[@]}"; do
    quantized "$name-$scheme" "$model" --scheme "$scheme" "${@:3}"
    row "$scheme" "$(perplexity 256 "$out/$name-$scheme")" "$exact"
  done
}

# states WINDOW: prints the table of a quantized Mamba with states of every type. A state is rounded
# after every token, so that evaluation in windows equals serving token by token.
states() {
  local exact type
  quantized demo-quamba-w8a8 "$mamba" --scheme quamba-w8a8
  exact=$(perplexity "$1" "$mamba")
  heading "states, windows of $1"
  row 'fp32 model' "$exact" "$exact"
  for type in fp32 bf16 int8; do
    row "$type" "$(perplexity "$1" "$out/demo-quamba-w8a8" --state-type "$type")" "$exact"
  done
}

transformer() {
  local exact
  exact=$(perplexity 512 "$gpt2")
  quantized gpt2-dynamic "$gpt2"
  quantized gpt2-static "$gpt2" --activations static
  quantized gpt2-table "$gpt2" --activations static --activation-table
  heading gpt2
  row fp32 "$exact" "$exact"
  row bf16 "$(perplexity 512 "$gpt2" --scheme bf16)" "$exact"
  row 'w8a8, dynamic, fp32 keys and values' "$(perplexity 512 "$out/gpt2-dynamic" --state-type fp32)" "$exact"
  row 'w8a8, dynamic (int8 keys and values)' "$(perplexity 512 "$out/gpt2-dynamic")" "$exact"
  row 'w8a8, static, fp32 keys and values' "$(perplexity 512 "$out/gpt2-static" --state-type fp32)" "$exact"
  row 'w8a8, static, with the table, fp32 keys and values' \
    "$(perplexity 512 "$out/gpt2-table" --state-type fp32)" "$exact"
}

schemes demo "$mamba"
schemes demo-tensor "$mamba" --granularity tensor
states 256
states 2048
transformer
[[ -z $stress ]] || schemes stress "$stress"
