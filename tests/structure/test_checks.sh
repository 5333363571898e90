#!/usr/bin/env bash
# The checks of arrows, settings and kernels find planted violations, and nothing else.
# usage: test_checks.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

fail() {
  echo "FAILED: $1"
  sed 's/^/    /' "$scratch/said"
  failures=$((failures + 1))
}

# Runs the command after WHAT; its status must be 0, or (second form) not 0 with the text SAID among its words.
expect_clean() {
  local what=$1
  shift
  "$@" >"$scratch/said" 2>&1 || fail "$what: was refused"
}
expect_violation() {
  local what=$1 said=$2
  shift 2
  if "$@" >"$scratch/said" 2>&1; then
    fail "$what: was not found"
  elif ! grep -qF -- "$said" "$scratch/said"; then
    fail "$what: '$said' is not in the complaint"
  fi
}

# ---- includes ----

tree=$scratch/tree
plant() { # FILE LINE...
  mkdir -p "$tree/$(dirname "$1")"
  printf '%s\n' "${@:2}" >"$tree/$1"
}
clean_tree() {
  rm -rf "$tree"
  plant src/base/status.h '#include <stddef.h>'
  plant src/tensor/ops.h '#include "base/status.h"'
  plant src/tensor/cpu/simd/norm.c '#include "tensor/cpu/state.h"' '#include "tensor/ops.h"' '#include "near.h"'
  plant src/main/main.c '#include "main/tasks.h"' '#include <mpi.h>' '#include "tensor/cpu/cpu.h"'
  plant src/tensor/cpu/simd/near.h '#include <math.h>'
  plant io/h5.h '#include <hdf5.h>' '#include "base/status.h"'
}
cat >"$scratch/arrows.txt" <<'END'
# what the clean tree does, and nothing more
folder base         src/base         :
folder tensor       src/tensor       : base
folder tensor/plain src/tensor/plain :
folder tensor/cpu   src/tensor/cpu   : tensor
folder io           io               : base
folder model        src/model        :
folder text         src/text         :
folder train        src/train        :
folder main         src/main         : tensor/cpu
outside MPI::MPI_C   ^mpi[.]h$       : main
outside HDF5::HDF5   ^hdf5[.]h$      : io
outside CUDA::cudart ^cuda           :
END
includes() { "$here/check_includes.sh" "$tree" "$scratch/arrows.txt"; }

clean_tree
expect_clean "a clean tree" includes
planted_include() { # WHAT SAID FILE LINE
  clean_tree
  plant "$3" "$4"
  expect_violation "$1" "$2" includes
}
planted_include "an arrow upwards" "base may not include tensor" src/base/up.c '#include "tensor/ops.h"'
planted_include "an arrow upwards with blanks" "base may not include io" src/base/up.h '  #  include   "io/h5.h"'
planted_include "an arrow sideways" "tensor/cpu may not include tensor/plain" src/tensor/cpu/x.c '#include "tensor/plain/plain.h"'
planted_include "the folder above a device" "tensor may not include tensor/cpu" src/tensor/x.c '#include "tensor/cpu/cpu.h"'
planted_include "a device from a model" "model may not include tensor/cpu" src/model/x.c '#include "tensor/cpu/cpu.h"'
planted_include "the program's header" "train may not include main" src/train/x.c '#include "main/tasks.h"'
planted_include "a header of nowhere" "lies in no folder that" src/base/x.c '#include "helpers/strings.h"'
planted_include "a way round" "climbs out" src/base/x.c '#include "../tensor/ops.h"'
planted_include "HDF5 outside io" "model may not include <hdf5.h>" src/model/x.c '#include <hdf5.h>'
planted_include "MPI outside its folders" "train may not include <mpi.h>" src/train/x.c '#include <mpi.h>'
planted_include "MPI in quotes" "train may not include <mpi.h>" src/train/x.c '#include "mpi.h"'
planted_include "CUDA outside cuda" "tensor may not include <cuda_runtime.h>" src/tensor/x.c '#include <cuda_runtime.h>'
planted_include "C++ files" "text may not include io" src/text/x.cc '#include "io/h5.h"'
planted_include "an unknown folder" "src/utils/x.c lies in no folder" src/utils/x.c '#include <stdio.h>'
rm -rf "$tree"
mkdir -p "$tree/src"
expect_violation "an empty tree" "no includes found" includes

# ---- settings ----

settings() { "$here/check_settings.sh" "$tree"; }
clean_settings() {
  rm -rf "$tree"
  plant src/input/settings_rows_x.inc '{FIELD(job, seed), 1},'
  plant src/train/x.c 'seed = settings->job.seed;'
}
clean_settings
expect_clean "settings that are read" settings
clean_settings
plant src/train/x.c 'seed = settings->job.seeds;'
expect_violation "a setting that nobody reads" "job.seed is read by nothing" settings
clean_settings
plant src/train/x.c 'seed = 1;'
plant src/input/x.c 'seed = settings->job.seed;'
expect_violation "a setting that is only checked" "job.seed is read by nothing" settings
clean_settings
plant src/input/settings_rows_x.inc '{1},'
expect_violation "a table without settings" "no settings found" settings

# ---- kernels ----

kernels() { "$here/check_kernels.sh" "$tree"; }
planted_kernel() { # LINE...
  rm -rf "$tree"
  plant cuda/x.h 'static void f() {' '}'
  plant cuda/x.cu 'static __global__ void __launch_bounds__(32)' '    x_kernel(int n) {' "$@" '}' 'static void g() {' '  kernel_begin();' '}'
}
planted_kernel '  kernel_begin();' '  if (n) return;'
expect_clean "a kernel that waits at once" kernels
planted_kernel '  kernel_release();' '  prefetch();' '  kernel_wait();'
expect_clean "a kernel that waits later" kernels
planted_kernel '  if (n) return;' '  kernel_begin();'
expect_violation "a kernel that may end before it waits" "does not wait" kernels
planted_kernel '  kernel_release();' '  if (n) {' '    kernel_wait();' '  }'
expect_violation "a kernel that waits only at times" "does not wait" kernels
planted_kernel
expect_violation "a kernel that does nothing" "does not wait" kernels
plant cuda/x.cu '/* nothing */'
expect_violation "a folder without kernels" "no kernels found" kernels

# ---- the list itself ----

clean_tree
cp "$scratch/arrows.txt" "$scratch/right.txt"
planted_arrow() { # WHAT SAID SED_EXPRESSION
  sed "$3" "$scratch/right.txt" >"$scratch/arrows.txt"
  expect_violation "$1" "$2" includes
}
planted_arrow "a list whose arrows go up" "not above it in the list" 's/^\(folder base .*\):/\1: io/'
planted_arrow "an arrow that nothing uses" "no file of model includes one of base" 's/^\(folder model .*\):/\1: base/'
planted_arrow "a library that nobody uses" "no file of train includes ^mpi" 's/^\(outside MPI.*\): main/\1: main train/'
planted_arrow "a library for no folder" "which is no folder" 's/^\(outside MPI.*\): main/\1: main utils/'
planted_arrow "a line of nonsense" "cannot read" 's/^folder text .*/folders text/'

if ((failures)); then
  echo "$failures failed"
  exit 1
fi
echo "all found"
