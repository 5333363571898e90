#!/usr/bin/env bash
# The manual page is what man reads without a complaint. Skipped (77) where neither mandoc nor groff's man is.
# usage: check_manual.sh PROGRAM
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
page=$scratch/llava_rlhf.1
"$1" --print-manual >"$page"
checked=no
if command -v mandoc >/dev/null; then
  checked=yes
  # A page without a date is meant: it is a build's, not a day's.
  if mandoc -T lint -W warning "$page" | grep -v 'missing date'; then
    echo "mandoc complains of the manual page"
    exit 1
  fi
fi
if command -v groff >/dev/null && man -l --help >/dev/null 2>&1; then
  checked=yes
  complaints=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
  if [[ -n $complaints ]]; then
    echo "$complaints"
    exit 1
  fi
fi
[[ $checked == yes ]] || exit 77
