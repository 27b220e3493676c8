#!/bin/sh
# copy_libraries.sh FOLDER BINARY...: copies the shared libraries that the binaries need into
# FOLDER, except libc's own, which must match the machine that runs them.
set -eu
folder=$1
shift
mkdir -p "$folder"
for binary in "$@"; do
  LD_LIBRARY_PATH= ldd "$binary" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
done | sort -u | while read -r library; do
  case ${library##*/} in
    libc.so.* | libm.so.* | libdl.so.* | librt.so.* | libpthread.so.* | ld-linux*) continue ;;
  esac
  [ "${library%/*}" -ef "$folder" ] || cp -L "$library" "$folder/"
done
