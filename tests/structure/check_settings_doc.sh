#!/usr/bin/env bash
# docs/settings.md is what the program says of its settings. With --write it is made anew.
# usage: check_settings_doc.sh ROOT PROGRAM [--write]
set -euo pipefail
document=$1/docs/settings.md
made() {
  cat <<'END'
# Settings

Every setting, with its default, range, unit and meaning, as `llava_rlhf --print-defaults` writes them: an input itself.
`llava_rlhf --print-defaults TASK` writes those that a task uses, with the task's own defaults. (Made by
`tests/structure/check_settings_doc.sh --write`.)

```fortran
END
  "$2" --print-defaults
  echo '```'
}
if [[ ${3:-} == --write ]]; then
  made "$@" >"$document"
  exit
fi
made "$@" | diff -u "$document" - || {
  echo "docs/settings.md is not what the program says; run: tests/structure/check_settings_doc.sh ROOT PROGRAM --write"
  exit 1
}
