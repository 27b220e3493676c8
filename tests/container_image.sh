#!/usr/bin/env bash
# Builds docker/Dockerfile without a Docker engine and without pulling an image, and tests the
# result:
#
#   tests/container_image.sh [bookworm|trixie]
#
# The base image is debootstrap's minimal root, which tests/fresh_machine.sh leaves in
# FRESH_MACHINE_CACHE (default build/fresh_machine). The script needs root and buildah. In the image
# it checks the user, starts the daemon, asks for its health and a completion, and stops it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

suite=${1:-bookworm}
packed=${FRESH_MACHINE_CACHE:-build/fresh_machine}/$suite.tar
base=localhost/debian:$suite-slim
image=localhost/whipsnake:$suite
export BUILDAH_ISOLATION=chroot

[[ -f $packed ]] || {
  echo "no $packed: run tests/fresh_machine.sh $suite first" >&2
  exit 1
}

container=
remove_container() {
  [[ -z $container ]] || buildah rm "$container" >/dev/null
}
trap remove_container EXIT

container=$(buildah from scratch)
buildah add --quiet "$container" "$packed" / >/dev/null
buildah commit --quiet --rm "$container" "$base" >/dev/null
container=
buildah bud --build-arg BASE="$base" -f docker/Dockerfile --ignorefile docker/Dockerfile.dockerignore \
  -t "$image" .

container=$(buildah from --pull-never "$image")
# Inside, as the image's user: serves on free ports, uses the server, sends SIGTERM, and checks the
# daemon's exit status.
# shellcheck disable=SC2016
buildah run "$container" -- bash -euc '
  [[ $(id -u) != 0 ]]
  whipsnake serve --model demo=/models/mamba-demo --listen 127.0.0.1:0 --http 127.0.0.1:0 >/tmp/log 2>&1 &
  until grep -q "^listening " /tmp/log; do kill -0 $!; sleep 0.1; done
  address=$(sed -n "s/^listening grpc=\([^ ]*\) .*/\1/p" /tmp/log)
  whipsnake health --server "$address"
  whipsnake generate --server "$address" --model demo --max-tokens 20 --temperature 0 "Elizabeth was"
  kill -TERM $!
  wait $!
'
buildah inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.ExposedPorts}}' \
  "$image"
echo "container image $image: built, serves, stops"
