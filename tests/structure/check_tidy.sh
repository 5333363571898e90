#!/usr/bin/env bash
# clang-tidy with the tree's .clang-tidy has nothing to say about the sources that differ from the commit SINCE (default: where the
# branch left main, or the last tag), or about all of them. A header that differs stands for all sources that include it. Skipped
# (status 77) without clang-tidy.
# usage: check_tidy.sh ROOT BUILD all | changed [SINCE]
set -euo pipefail
build=$(cd "$2" && pwd)
cd "$1"
command -v clang-tidy >/dev/null || { echo "skipped: clang-tidy is not installed"; exit 77; }

# The commit that the tree is compared with: of main, or of the last tag where the tree is main itself.
find_base() {
  local branch base
  for branch in origin/main main; do
    base=$(git merge-base HEAD "$branch" 2>/dev/null) || continue
    if [[ $base != $(git rev-parse HEAD) ]]; then
      echo "$base"
      return
    fi
  done
  git describe --tags --abbrev=0 2>/dev/null || git rev-parse HEAD~1 2>/dev/null
}

# All sources that the build compiles, below the folders of the program (tests and benchmarks are compiled with clang's warnings).
list_all() {
  sed -n 's/^ *"file": "\(.*\)",\?$/\1/p' "$build/compile_commands.json" | sort -u | grep -E "^$PWD/(src|io)/"
}

list_changed() {
  local base=$1 name
  git diff --name-only --diff-filter=d "$base" -- src io | while read -r name; do
    case $name in
    *.c | *.cc) echo "$PWD/$name" ;;
    *.h) grep -rlF "\"${name#src/}\"" --include='*.c' --include='*.cc' "$PWD/src" "$PWD/io" || true ;;
    esac
  done | sort -u
}

case ${3:-} in
all) mapfile -t files < <(list_all) ;;
changed)
  base=${4:-$(find_base)} || { echo "skipped: no commit to compare with"; exit 77; }
  mapfile -t files < <(comm -12 <(list_changed "$base") <(list_all))
  ;;
*)
  echo "usage: check_tidy.sh ROOT BUILD all | changed [SINCE]" >&2
  exit 2
  ;;
esac
echo "${#files[@]} files"
((${#files[@]} > 0)) || exit 0

tidy() { # LANGUAGE'S ENDING, OPTIONS...
  printf '%s\n' "${files[@]}" | { grep "[.]$1\$" || true; } | tr '\n' '\0' |
    xargs -0 -r -n 4 -P "$(nproc)" clang-tidy -p "$build" --quiet --warnings-as-errors='*' "${@:2}"
}
status=0
tidy c || status=1
tidy cc --extra-arg=-std=gnu++17 || status=1
exit "$status"
