#!/usr/bin/env bash
# Checks that every kernel in ROOT's folder cuda waits for the kernels before it, which it is started beside: kernel_begin()
# is its first statement, or kernel_wait() (others then wait for its end), or kernel_release() is and kernel_wait() stands on a
# line of its own at the level of the function.
# usage: check_kernels.sh ROOT
set -euo pipefail
cd "$1"
awk '
  FNR == 1 { in_signature = in_body = 0 }
  /__global__/ { in_signature = 1; place = FILENAME ":" FNR; count++ }
  in_body && !first { first = $0 }
  in_body && /^  kernel_wait\(\);$/ { waits = 1 }
  in_body && /^}/ {
    in_body = 0
    if (first !~ /^  kernel_(begin|wait)\(\);$/ && !(first ~ /^  kernel_release\(\);$/ && waits)) {
      print place ": this kernel does not wait for those before it (kernel_begin in cuda/kernel.h)"
      failures++
    }
  }
  in_signature && /\{$/ { in_signature = 0; in_body = 1; first = ""; waits = 0 }
  END {
    if (count == 0) print "no kernels found in cuda"
    exit failures > 0 || count == 0
  }' cuda/*.cu cuda/*.h
