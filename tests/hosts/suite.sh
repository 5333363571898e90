#!/usr/bin/env bash
# The parallel tests with their ranks on two hosts (run.sh): those of the program where a host learns late of the other's files (the
# ranks of other tests themselves look for files before they are there). Each runs with half of its ranks on each host; one that is
# refused there because a tp group would span two nodes, then with pairs of ranks on each, and at last with all of them on the second.
# usage: suite.sh BUILD [CTEST OPTIONS], for example: suite.sh build/release -R layouts
# exit status: 0 all passed, 1 some failed, 77 skipped
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Once the hosts are there.
suite_run() { # BUILD LATE CTEST OPTIONS...
  local folder=$HOSTS_FOLDER/ctest log=$HOSTS_FOLDER/ctest/Testing/Temporary/LastTest.log labels=(-L '^mpi$' -LE '^(slow|program)$') others refused
  mkdir "$folder"
  echo "subdirs(\"$1\")" >"$folder/CTestTestfile.cmake" # what ctest keeps of its runs stays out of the build
  if [[ $2 == late ]]; then labels=(-L '^program$' -LE '^slow$'); fi
  suite_ctest "${labels[@]}" -E '_np1$' "${@:3}"
  mapfile -t others < <(suite_failed no)
  for HOSTS_PLACES in pairs far; do
    mapfile -t refused < <(suite_failed yes)
    if ((${#refused[@]} == 0)); then break; fi
    echo "$HOSTS_PLACES, because of their tp groups: ${refused[*]}"
    suite_ctest -R "^($(IFS='|' && echo "${refused[*]}"))\$"
    mapfile -t -O "${#others[@]}" others < <(suite_failed no)
  done
  mapfile -t -O "${#others[@]}" others < <(suite_failed yes)
  echo "${#others[@]} tests failed on two hosts${others[*]:+: ${others[*]}}"
  ((${#others[@]} == 0))
}

suite_ctest() { # OPTIONS...
  rm -f "$log"
  ctest --test-dir "$folder" --output-on-failure "$@" || true
}

# Names of the tests that failed in the newest run because a tp group would span two nodes (REFUSED yes), or otherwise (no).
suite_failed() { # REFUSED
  if [[ ! -e $log ]]; then return; fi
  awk -v wanted="$1" '
    /^[0-9]+\/[0-9]+ Testing: / { name = $3; refused = "no" }
    /would span two nodes/ { refused = "yes" }
    /^Test (Failed|Timeout)/ && refused == wanted { print name }
  ' "$log"
}

build=$(realpath "$1")
shift
if [[ -n ${HOSTS_FOLDER:-} ]]; then
  suite_run "$build" "$@"
  exit
fi
status=0
"$here/run.sh" "$here/suite.sh" "$build" prompt "$@" || status=$?
if ((status == 77)); then exit 77; fi
"$here/run.sh" --late "$here/suite.sh" "$build" late "$@" || status=$?
exit "$status"
