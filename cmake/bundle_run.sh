#!/usr/bin/env bash
# Runs a program of this folder with the libraries beside it; CUDA's are the machine's own: those of the toolkit, or of Python's wheels.
# usage: run PROGRAM [ARGUMENTS] | run mpirun -np N PROGRAM [ARGUMENTS] | run check
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
(($# > 0)) || { echo "usage: run PROGRAM [ARGUMENTS] | run mpirun -np N PROGRAM [ARGUMENTS] | run check" >&2; exit 2; }

cuda=
for folder in /usr/local/cuda/lib64 /usr/local/cuda*/targets/x86_64-linux/lib \
  $(python3 -c 'import glob, sysconfig; print(*glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/*/lib"))' 2>/dev/null || true) \
  /usr/local/nvidia/lib64; do
  if [[ -d $folder ]]; then cuda+=:$folder; fi
done
export PATH=$root/bin:$PATH LD_LIBRARY_PATH=$root/lib$cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export OPAL_PREFIX=$root PMIX_INSTALL_PREFIX=$root
export OMPI_MCA_mca_base_component_path=$root/openmpi PMIX_MCA_pmix_mca_base_component_path=$root/pmix
export OMPI_MCA_ess_singleton_isolated=${OMPI_MCA_ess_singleton_isolated:-1}
export OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

if [[ $1 != check ]]; then exec "$@"; fi
failed=0
for test in "$root"/bin/test_*; do
  echo "== $(basename "$test")"
  status=0
  "$test" || status=$?
  if ((status == 77)); then
    echo "skipped"
  elif ((status != 0)); then
    failed=$((failed + 1))
  fi
done
echo "$failed tests failed"
((failed == 0))
