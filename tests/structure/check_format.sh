#!/usr/bin/env bash
# All C and C++ sources are as clang-format 14 writes them with the tree's .clang-format. Skipped (status 77) without it: other
# versions write some lines differently.
# usage: check_format.sh ROOT
set -euo pipefail
cd "$1"
version=$(clang-format --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
if [[ $version != 14 ]]; then
  echo "skipped: clang-format 14 is not installed"
  exit 77
fi
find src io tests benchmarks cuda \( -name '*.[ch]' -o -name '*.cc' -o -name '*.cu' \) -print0 | xargs -0 clang-format --dry-run --Werror
