#!/usr/bin/env bash
# Compares the arrows between folders with the #includes of ROOT's sources: none may be missing, none unused.
# usage: check_includes.sh ROOT [ARROWS]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
arrows=${2:-$here/../../src/arrows.txt}
[[ -r $arrows ]] || { echo "cannot read $arrows" >&2; exit 2; }
arrows=$(realpath "$arrows")
cd "$1"
folders=()
for folder in src io cuda; do
  if [[ -d $folder ]]; then folders+=("$folder"); fi
done
{ grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]' "${folders[@]}" \
    --include='*.c' --include='*.h' --include='*.cc' --include='*.cu' --include='*.cuh' || true; } |
  awk -v table="$arrows" -f "$here/arrows.awk" -f "$here/includes.awk"
