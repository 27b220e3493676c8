#!/usr/bin/env bash
# The table of docs/quantization.md: a model in fp32 and under every scheme, on one text.
#
#   tests/quantization_table.sh WHIPSNAKE MODEL CALIBRATION TEXT OUT [FLAGS OF quantize]
#
# Quantized models go to OUT/SCHEME and are not made again, so that a run that was stopped goes on. One line of
# Markdown a scheme: perplexity, how much it is above fp32's, bytes of all tensors beside fp32's.
set -euo pipefail

(($# >= 5)) || {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
program=$1 model=$2 calibration=$3 text=$4 out=$5
shift 5
schemes=(static-w8a8 smoothquant-w8a8 quamba-w8a8-norot quamba-w8a8-nopct quarot-w8a8 quamba-w8a8)
mkdir -p "$out"

# value KEY JSON: a number of a flat JSON line.
value() {
  grep -oE "\"$1\":[-0-9.e+]+" <<<"$2" | head -n 1 | cut -d : -f 2
}

perplexity_of() {
  value perplexity "$("$program" evaluate --model "$1" --text "$text" --window 256 --json)"
}

echo '| scheme | perplexity | above fp32 | of fp32'"'"'s bytes | percentile |'
echo '| --- | ---: | ---: | ---: | ---: |'
exact=$(perplexity_of "$model")
printf '| fp32 | %.3f | | 1 | |\n' "$exact"
for scheme in "${schemes[@]}"; do
  directory=$out/$scheme
  [[ -d $directory ]] || "$program" quantize --model "$model" --calibration "$calibration" \
    --scheme "$scheme" --out "$directory" "$@" >"$directory.log"
  report=$(tr -d '\n ' <"$directory/quantization_report.json")
  percentile=$(grep -oE '"percentile":[0-9.]+,"trials"' <<<"$report" | grep -oE '[0-9.]+' || true)
  awk -v scheme="$scheme" -v seen="$(perplexity_of "$directory")" -v exact="$exact" -v percentile="$percentile" \
    -v bytes="$(value quantized_bytes "$report")" -v whole="$(value float_bytes "$report")" \
    'BEGIN { printf "| %s | %.3f | %+.2f%% | %.3f | %s |\n", scheme, seen, 100 * (seen / exact - 1), bytes / whole, percentile }'
done
