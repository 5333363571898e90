#!/usr/bin/env bash
# The parallel tests with their ranks on two hosts (run.sh). Each runs with half of its ranks on each host; one that has more ranks to a
# tp group than half of them, which is refused there, then with pairs of ranks on each.
# usage: suite.sh BUILD [CTEST OPTIONS], for example: suite.sh build/release -R layouts
# exit status: 0 all passed, 1 some failed, 77 skipped
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(realpath "$1")
if [[ -z ${HOSTS_FOLDER:-} ]]; then exec "$here/run.sh" "$here/suite.sh" "$@"; fi
shift
log=$build/Testing/Temporary/LastTest.log

# Names of the tests that failed in the newest run because a tp group would span two nodes (REFUSED yes), or failed otherwise (no).
failed() { # REFUSED
  awk -v wanted="$1" '
    /^[0-9]+\/[0-9]+ Testing: / { name = $3; refused = "no" }
    /would span two nodes/ { refused = "yes" }
    /^Test (Failed|timed out)/ || /^Test Timeout/ { if (refused == wanted) print name }
  ' "$log"
}

run() {
  rm -f "$log"
  ctest --test-dir "$build" --output-on-failure --no-tests=error "$@" || true
}

run -L '^mpi$' -LE '^slow$' -E '_np1$' "$@"
mapfile -t others < <(failed no)
mapfile -t refused < <(failed yes)
if ((${#refused[@]})); then
  echo "in pairs, because of their tp groups: ${refused[*]}"
  HOSTS_PLACES=pairs run -R "^($(IFS='|'; echo "${refused[*]}"))\$"
  mapfile -t -O "${#others[@]}" others < <(failed no; failed yes)
fi
echo "${#others[@]} tests failed on two hosts${others[*]:+: ${others[*]}}"
((${#others[@]} == 0))
