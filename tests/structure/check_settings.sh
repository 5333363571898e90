#!/usr/bin/env bash
# Checks that every setting of ROOT's table is read outside src/input: one that the table offers and no task looks at would
# be accepted and do nothing. The lists of all tasks' files do not count.
# usage: check_settings.sh ROOT
set -euo pipefail
cd "$1"
failures=0 count=0
read_by_a_task() { # GROUP NAME
  grep -rqE --include='*.c' --include='*.h' --exclude-dir=input --exclude=task_files.c --exclude=paths.c "(->|\.)$1\.$2\b" src
}
while read -r group name; do
  count=$((count + 1))
  if ! read_by_a_task "$group" "$name"; then
    echo "$group.$name is read by nothing outside src/input"
    failures=$((failures + 1))
  fi
done < <(grep -ohE 'FIELD\([a-z_]+, [a-z_]+\)' src/input/settings_rows_*.inc | sed -E 's/FIELD\((.*), (.*)\)/\1 \2/')
((count > 0)) || { echo "no settings found in $1/src/input/settings_rows_*.inc"; exit 1; }
exit $((failures > 0))
