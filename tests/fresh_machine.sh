#!/usr/bin/env bash
# Tests that the README's two commands work on a fresh machine:
#
#   tests/fresh_machine.sh bookworm|trixie [demo|test]
#
# Makes a minimal Debian root (debootstrap's minbase with git and ca-certificates, nothing else),
# clones the committed HEAD of this repository into it, runs ./dev demo (or ./dev test) inside, and
# prints how long each part took. Needs root and debootstrap. The root is kept as an archive in
# FRESH_MACHINE_CACHE (default build/fresh_machine) and unpacked for every run. Packages come from
# MIRROR, by default the mirror that this machine's apt uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  printf 'fresh_machine: %s\n' "$*" >&2
  exit 1
}

suite=${1:-}
command=${2:-demo}
[[ $suite == bookworm || $suite == trixie ]] || die "suite '$suite': expected bookworm or trixie"
[[ $command == demo || $command == test ]] || die "command '$command': expected demo or test"
((EUID == 0)) || die 'debootstrap and chroot need root: run this with sudo'
command -v debootstrap >/dev/null || die 'needs debootstrap: apt-get install debootstrap'

# From here on, mounts are visible only to this script, and they and its processes end with it.
if [[ ! ${FRESH_MACHINE_INSIDE:-} ]]; then
  FRESH_MACHINE_INSIDE=yes exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi

cache=${FRESH_MACHINE_CACHE:-build/fresh_machine}
mkdir -p "$cache"
cache=$(realpath "$cache")
root=$(mktemp -d "$cache/$suite.XXXXXX")
times=()

remove_root() {
  umount "$root/proc" "$root/dev/shm" 2>/dev/null || true
  rm -rf --one-file-system "$root"
}
trap remove_root EXIT

# phase NAME COMMAND...: runs COMMAND and records its time.
phase() {
  local name=$1 start=$SECONDS
  shift
  "$@"
  times+=("$(printf '%4d s  %s' $((SECONDS - start)) "$name")")
}

# Prints the first Debian archive that this machine's apt knows. Prints nothing on another system,
# so that debootstrap uses its default.
host_mirror() {
  apt-get indextargets --format "\$(ORIGIN) \$(REPO_URI)" 2>/dev/null |
    awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }'
}

make_bare_root() {
  local packed=$cache/$suite.tar made
  if [[ ! -f $packed ]]; then
    made=$(mktemp -d "$cache/$suite.XXXXXX")
    # shellcheck disable=SC2046,SC2086  # No mirror is no argument.
    debootstrap --variant=minbase --include=ca-certificates,git "$suite" "$made" \
      ${MIRROR:-$(host_mirror)} >"$packed.log" || die "debootstrap failed, see $packed.log"
    tar -C "$made" -cf "$packed.part" . && mv "$packed.part" "$packed"
    rm -rf --one-file-system "$made"
  fi
  tar -C "$root" -xf "$packed"
}

# Gives the root this machine's access to the archive: the same resolver, apt proxies and apt
# checks.
connect() {
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|Check-)' >"$root/etc/apt/apt.conf.d/90host" || true
  mount -t proc proc "$root/proc"
  mkdir -p "$root/dev/shm"
  mount -t tmpfs tmpfs "$root/dev/shm"
}

clone() {
  git clone --quiet --no-hardlinks "file://$PWD" "$root/root/whipsnake"
}

run_inside() {
  env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin ${http_proxy:+http_proxy="$http_proxy"} \
    chroot "$root" bash -c "cd /root/whipsnake && ./dev $command" </dev/null
}

phase "bare $suite root" make_bare_root
connect
phase 'clone' clone
phase "./dev $command, from nothing" run_inside
printf '\n%s on a bare %s, %s cores:\n' "./dev $command" "$suite" "$(nproc)"
printf '%s\n' "${times[@]}"
