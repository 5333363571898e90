#!/usr/bin/env bash
# Sets up, builds and tests: the one script for people and for CI.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'END'
usage: tests/run.sh [options] [-- CTEST OPTIONS]
  Installs missing packages (jobs/setup.sh), builds with warnings as errors, runs the tests, and ends with the line
  'N passed, N failed, N skipped'.

  --all             also the tests labelled slow: those that try more of what another test has tried already
  --preset NAME     release (default), debug, gcc, clang, mpich, cuda, asan, ubsan, sanitizers (these three run each parallel test on the fewest ranks
                    above 1 only) or fuzz (the fuzz targets alone)
  --build-only      runs no tests
  --jobs N          builds with N processes and runs tests on N cores (as many as there are)
  --build-dir DIR   where to build (build/NAME in the source tree)
  --help            this text
  -- ...            for ctest, for example: tests/run.sh -- -R generator
exit status: 0 all passed, 1 tests failed or the build did, 2 wrong usage or missing packages
END
}

fail() {
  echo "run.sh: $2" >&2
  exit "$1"
}

preset=release
jobs=$(nproc)
build=
all=no
build_only=no
ctest_options=()

need_value() { (($2 > 1)) || fail 2 "$1 needs a value (see --help)"; }
while (($#)); do
  case $1 in
  -h | --help)
    usage
    exit 0
    ;;
  --all)
    all=yes
    shift
    ;;
  --build-only)
    build_only=yes
    shift
    ;;
  --preset)
    need_value "$1" $#
    preset=$2
    shift 2
    ;;
  --jobs)
    need_value "$1" $#
    jobs=$2
    shift 2
    ;;
  --build-dir)
    need_value "$1" $#
    build=$(realpath -m "$2")
    shift 2
    ;;
  --)
    shift
    ctest_options+=("$@")
    break
    ;;
  *) fail 2 "unknown option '$1' (see --help)" ;;
  esac
done
[[ $jobs =~ ^[1-9][0-9]*$ ]] || fail 2 "--jobs '$jobs': expected a whole number from 1"
case $preset in
release | debug | gcc | clang | mpich | cuda | asan | ubsan | sanitizers | fuzz) ;;
*) fail 2 "no preset '$preset'; expected release, debug, gcc, clang, mpich, cuda, asan, ubsan, sanitizers or fuzz" ;;
esac
if [[ $all == no ]]; then ctest_options+=(-LE '^slow$'); fi
build=${build:-$root/build/$preset}

# "N passed, N failed, N skipped", and a line for each test that was not passed, from the JUnit file that ctest wrote.
summarise() {
  awk '
    function attribute(name, text) {
      if (!match($0, name "=\"[^\"]*\"")) return ""
      text = substr($0, RSTART, RLENGTH)
      sub(/^[^"]*"/, "", text); sub(/"$/, "", text)
      return text
    }
    function add() {
      if (name == "") return
      count[outcome]++
      if (outcome != "passed") print "  " outcome " " name
    }
    /<testcase / {
      add()
      name = attribute(" name")
      status = attribute(" status")
      outcome = status == "run" ? "passed" : status == "fail" ? "failed" : "skipped"
    }
    # A test that could not be started was not skipped: it failed.
    /<skipped / && !/SKIP_/ { outcome = "failed" }
    END {
      add()
      printf "%d passed, %d failed, %d skipped\n", count["passed"], count["failed"], count["skipped"]
    }
  ' "$1"
}

case $preset in
clang | fuzz) "$root/jobs/setup.sh" --develop ;;
*) "$root/jobs/setup.sh" ;;
esac
cd "$root"
started=$SECONDS
mkdir -p "$build"
cmake --preset "$preset" -B "$build" -DLLAVA_RLHF_TESTS=ON >"$build/configure.txt" 2>&1 ||
  { cat "$build/configure.txt" >&2; fail 1 "configuring failed"; }
targets=()
if [[ $preset == fuzz ]]; then targets=(--target fuzz); fi
cmake --build "$build" -j "$jobs" "${targets[@]}" || fail 1 "the build failed"
echo "built with preset $preset in $((SECONDS - started)) s"
if [[ $build_only == yes ]]; then exit 0; fi

# Tests wait for processes and disks half of their time.
status=0
started=$SECONDS
rm -f "$build/tests.xml"
ctest --test-dir "$build" -j $((2 * jobs)) --output-on-failure --no-tests=error --output-junit "$build/tests.xml" \
  "${ctest_options[@]}" || status=1
echo "tested in $((SECONDS - started)) s"
[[ -s $build/tests.xml ]] || fail 1 "ctest ran no tests"
summarise "$build/tests.xml"
exit "$status"
