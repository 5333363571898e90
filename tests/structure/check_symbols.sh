#!/usr/bin/env bash
# Checks the arrows between folders in what the built libraries define and use.
# usage: check_symbols.sh BUILD [ARROWS]      BUILD holds lib*.a and CMakeFiles/llava_rlhf.dir (the program's objects)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$1
arrows=${2:-$here/arrows.txt}
[[ -r $arrows ]] || { echo "cannot read $arrows" >&2; exit 2; }

# "LIBRARY OBJECT TYPE SYMBOL" of each global symbol. nm -P: "file[object]: symbol type [value size]".
symbols() {
  local name=$1
  shift
  nm -A -P -g "$@" | awk -v name="$name" '{ object = $1; sub(/:$/, "", object); sub(/.*\//, "", object); print name, object, $3, $2 }'
}

shopt -s nullglob
libraries=("$build"/lib*.a)
objects=("$build"/CMakeFiles/llava_rlhf.dir/src/*.o)
{
  for library in "${libraries[@]}"; do
    name=${library##*/lib}
    symbols "${name%.a}" "$library"
  done
  if ((${#objects[@]})); then symbols - "${objects[@]}"; fi
} | awk -v table="$arrows" -f "$here/arrows.awk" -f "$here/symbols.awk"
