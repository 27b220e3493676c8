#!/usr/bin/env bash
# Includes only go down: server -> engine -> kernels. The engine includes neither gRPC nor Protobuf
# nor the metrics library, and its folders generate, quantize and finetune do not include one
# another. The folder of a family of models (engine/models/mamba) is included only by itself and by
# the table of families, engine/models/family.cc. Within the server includes go down too:
# rpc and console -> jobs -> datasets -> registry -> store, metrics, work, access.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly WIRE='grpc|grpcpp|google/protobuf|google/rpc|whipsnake/v1|prometheus|microhttpd|sqlite3'

# forbid FOLDER PATHS: prints the includes in FOLDER, if it exists, of anything under PATHS.
forbid() {
  [[ -d $1 ]] || return 0
  grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)[/.]" "$1" \
    --include='*.h' --include='*.cc' --include='*.cu' --include='*.cuh' || true
}

# forbid_families: the same for the folders of families.
forbid_families() {
  local folder
  for folder in engine/models/*/; do
    folder=${folder%/}
    { forbid engine "$folder"; forbid server "$folder"; } |
      grep -vE "^($folder/|engine/models/family\.cc:)" || true
  done
}

# forbid_in_server: the same for the folders of the server.
forbid_in_server() {
  local folder above='cli|console|http|rpc'
  for folder in jobs datasets registry; do
    forbid "server/$folder" "server/($above)"
    above+="|$folder"
  done
  forbid server/store "server/($above|metrics|work)"
  forbid server/metrics "server/($above|store|work)"
  forbid server/work "server/($above|store|metrics)"
  forbid server/access "server/($above|store|metrics|work)"
  forbid server/http "server/(cli|console|rpc|jobs|datasets|registry|store)"
  forbid server/rpc 'server/(cli|console|http)'
  forbid server/config 'server/(cli|console|http|rpc)'
  forbid server/console 'server/cli'
}

# violations ROOT: prints every include that goes up or sideways, one per line.
violations() (
  cd "$1"
  forbid kernels "engine|server|$WIRE"
  forbid engine "server|$WIRE"
  forbid engine/generate 'engine/(quantize|finetune)'
  forbid engine/quantize 'engine/(generate|finetune)'
  forbid engine/finetune 'engine/(generate|quantize)'
  forbid_families
  forbid_in_server
)

# Tests the check itself: it must find each of these one-line files.
check_the_check() {
  local scratch file
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$scratch'" EXIT
  mkdir -p "$scratch"/{kernels/matmul,engine/{base,generate,quantize,finetune,models/{mamba,gpt2}},server/{jobs,store,work}}
  echo '#include "engine/base/status.h"' >"$scratch/kernels/matmul/1.cc"
  echo '#include <grpcpp/grpcpp.h>' >"$scratch/kernels/2.cu"
  echo '  #  include "server/registry.h"' >"$scratch/engine/base/3.h"
  echo '#include "whipsnake/v1/model.pb.h"' >"$scratch/engine/4.cc"
  echo '#include "engine/finetune/trainer.h"' >"$scratch/engine/generate/5.h"
  echo '#include "engine/generate/generator.h"' >"$scratch/engine/quantize/6.cc"
  echo '#include "engine/quantize/recipe.h"' >"$scratch/engine/finetune/7.cc"
  echo '#include "engine/models/mamba/mamba.h"' >"$scratch/engine/models/gpt2/8.cc"
  echo '#include "engine/models/gpt2/gpt2_config.h"' >"$scratch/server/9.cc"
  echo '#include "server/rpc/messages.h"' >"$scratch/server/jobs/10.h"
  echo '#include "server/jobs/job.h"' >"$scratch/server/store/11.cc"
  echo '#include "server/store/store.h"' >"$scratch/server/work/12.cc"
  echo '#include "server/store/store.h"' >"$scratch/server/jobs/allowed.cc"
  echo '#include "engine/base/status.h"' >"$scratch/server/allowed.cc"
  echo '#include "engine/models/mamba/mamba_family.h"' >"$scratch/engine/models/family.cc"
  echo '#include "engine/models/gpt2/gpt2_config.h"' >"$scratch/engine/models/gpt2/allowed.cc"
  echo '#include "kernels/matmul/matmul.h"' >"$scratch/engine/generate/allowed.cc"
  file=$(violations "$scratch" | grep -oE '[a-z0-9]+\.(h|cc|cu):' | sort -n | tr -d '\n')
  [[ $file == 1.cc:2.cu:3.h:4.cc:5.h:6.cc:7.cc:8.cc:9.cc:10.h:11.cc:12.cc: ]] || {
    echo "the check itself is broken: of twelve bad includes it found '$file'" >&2
    exit 1
  }
}

check_the_check
found=$(violations .)
if [[ $found ]]; then
  printf 'These includes go up or sideways:\n%s\n' "$found" >&2
  exit 1
fi
echo 'imports only go down'
