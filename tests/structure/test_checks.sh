#!/usr/bin/env bash
# The three checks find planted violations, and nothing else. Compiles a few lines of C in a temporary folder.
# usage: test_checks.sh CC AR
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cc=$1
ar=$2
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
  plant src/main.c '#include "main_tasks.h"' '#include <mpi.h>' '#include "tensor/cpu/cpu.h"'
  plant src/tensor/cpu/simd/near.h '#include <math.h>'
  plant io/h5.h '#include <hdf5.h>' '#include "base/status.h"'
}
includes() { "$here/check_includes.sh" "$tree"; }

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
planted_include "the program's header" "train may not include main" src/train/x.c '#include "main_tasks.h"'
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
  plant src/input/settings_table.c '#define FIELD(group_, name_) 0' '{FIELD(job, seed), 1},' '{FIELD(export, output), 1},'
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
plant src/io/x.c 'path = s.export.output;'
expect_violation "a task that is there now" "export.output is read" settings
clean_settings
plant src/input/settings_table.c '{1},'
expect_violation "a table without settings" "no settings found" settings

# ---- symbols ----

build=$scratch/build
library() { # NAME SOURCE
  echo "$2" >"$scratch/$1.c"
  "$cc" -c -o "$scratch/$1.o" "$scratch/$1.c"
  rm -f "$build/lib$1.a"
  "$ar" rc "$build/lib$1.a" "$scratch/$1.o"
}
clean_build() {
  rm -rf "$build"
  mkdir -p "$build/CMakeFiles/llava_rlhf.dir/src"
  library base 'int base_one(void) { return 1; } int base_count;'
  library tensor 'int base_one(void); int tensor_one(void) { return base_one(); }'
  library io 'int H5open(void); int tensor_one(void); int io_one(void) { return tensor_one() + H5open(); }'
  echo 'int io_one(void); int main(void) { return io_one(); }' >"$scratch/main.c"
  "$cc" -c -o "$build/CMakeFiles/llava_rlhf.dir/src/main.c.o" "$scratch/main.c"
}
symbols() { "$here/check_symbols.sh" "$build"; }

clean_build
expect_clean "a clean build" symbols
planted_library() { # WHAT SAID NAME SOURCE
  clean_build
  library "$3" "$4"
  expect_violation "$1" "$2" symbols
}
planted_library "a call upwards" "perf may not use tensor_one of tensor" perf \
  'int tensor_one(void); int perf_one(void) { return tensor_one(); }'
clean_build
library perf 'int perf_count = 1;'
library base 'extern int perf_count; int base_one(void) { return perf_count; }'
expect_violation "data used from below" "base may not use perf_count of perf" symbols
planted_library "HDF5 outside io" "model may not use H5open" model 'int H5open(void); int model_one(void) { return H5open(); }'
planted_library "MPI outside its folders" "train may not use MPI_Init" train \
  'int MPI_Init(void); int train_one(void) { return MPI_Init(); }'
planted_library "one name twice" "base_one is defined in" model 'int base_one(void) { return 2; }'
planted_library "an unknown library" "library utils belongs to no folder" utils 'int utils_one(void) { return 1; }'
rm -rf "$build"
mkdir -p "$build"
expect_violation "an empty build" "no symbols found" symbols

# ---- the list itself ----

sed 's/^folder perf .*/folder perf src\/perf perf : tensor base/' "$here/arrows.txt" >"$scratch/arrows.txt"
clean_tree
expect_violation "a list whose arrows go up" "not above it in the list" "$here/check_includes.sh" "$tree" "$scratch/arrows.txt"

if ((failures)); then
  echo "$failures failed"
  exit 1
fi
echo "all found"
