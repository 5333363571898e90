#!/usr/bin/env bash
# Runs a program of this folder with the libraries beside it; CUDA's are the machine's own: those of the toolkit, or of Python's wheels.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'END'
usage: run PROGRAM [ARGUMENTS]
       run mpirun -np N PROGRAM [ARGUMENTS]
       run quickstart [OPTIONS]     the shapes world from its pictures to an aligned policy (OPTIONS: run quickstart --help), by
                                    default on one rank with models on the GPU; runs/ is made in the current directory
       run check [OPTIONS]          the tests for GPUs, and a table of them
         --sanitizer                instead the suite of operations and the model under compute-sanitizer's tools
         --only REGEX               of the table's rows those that match
         --limit SECONDS            of each row (280)
         --logs DIR                 what each row said (check in the current directory)
exit status of check: 0 nothing failed
END
}

(($# > 0)) || { usage >&2; exit 2; }

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
export LLAVA_RLHF_BINARY=$root/bin/llava_rlhf

# ---- The tests ----

sanitizer=no only=. limit=280 logs=check failed=0

read_check_options() {
  while (($#)); do
    case $1 in
    --sanitizer) sanitizer=yes ;;
    --only | --limit | --logs)
      (($# > 1)) || { echo "run check: $1 needs a value" >&2; exit 2; }
      case $1 in
      --only) only=$2 ;;
      --limit) limit=$2 ;;
      --logs) logs=$2 ;;
      esac
      shift
      ;;
    *)
      usage >&2
      exit 2
      ;;
    esac
    shift
  done
  [[ $limit =~ ^[1-9][0-9]*$ ]] || { echo "run check: --limit '$limit': expected a whole number from 1" >&2; exit 2; }
  mkdir -p "$logs"
}

# A row: NAME and the command. The detail is compute-sanitizer's count of errors, or what failed.
check_row() {
  local name=$1 status=0 started=$SECONDS outcome detail log=$logs/${1// /_}.txt
  shift
  [[ $name =~ $only ]] || return 0
  timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null || status=$?
  detail=$(sed -n 's/^========= \(.*SUMMARY: .*\)/\1/p' "$log" | tail -n 1)
  case $status in
  0) outcome=passed ;;
  77) outcome=skipped ;;
  124 | 137) outcome='time over' ;;
  *) outcome="failed ($status)" ;;
  esac
  if [[ $outcome != passed && $outcome != skipped ]]; then failed=$((failed + 1)); fi
  if [[ -z $detail && $outcome != passed ]]; then detail=$(sed -n 's/^\[  FAILED  \] \([a-z].*\)/\1/p' "$log" | sort -u | paste -sd ' '); fi
  printf '%-34s %-12s %5d s  %s\n' "$name" "$outcome" "$((SECONDS - started))" "$detail"
}

check_tests() {
  local test name
  for test in "$root"/bin/test_*; do
    name=$(basename "$test")
    check_row "$name" "$test"
    if [[ $name == test_cuda_device ]]; then check_row "$name on 3 ranks" mpirun -np 3 "$test"; fi
  done
}

check_with_sanitizer() {
  local tool test program
  program=$(PATH=$PATH:/usr/local/cuda/bin command -v compute-sanitizer) || { echo "run check: there is no compute-sanitizer" >&2; exit 2; }
  for tool in memcheck racecheck initcheck synccheck; do
    for test in test_cuda_ops test_cuda_model; do
      check_row "$tool $test" "$program" --tool "$tool" --error-exitcode 86 --print-limit 50 "$root/bin/$test"
    done
  done
}

case $1 in
-h | --help) usage ;;
quickstart)
  shift
  exec "$root/jobs/quickstart.sh" --program "$root/bin/llava_rlhf" --work-dir "$PWD" --np 1 --device cuda "$@"
  ;;
check)
  shift
  read_check_options "$@"
  if [[ $sanitizer == yes ]]; then check_with_sanitizer; else check_tests; fi
  echo "$failed failed; what they said is in $logs"
  ((failed == 0))
  ;;
*) exec "$@" ;;
esac
