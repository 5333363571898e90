#!/usr/bin/env bash
# Fetches the headers of cuDNN's frontend, which Debian has no package of, from PyPI into a folder where CMake looks for them.
# With these and cuDNN's own the device for GPUs has parallel.attention = 'cudnn'.
set -euo pipefail
version=1.32.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

case ${1:-} in
  -h | --help)
    echo "usage: jobs/fetch_cudnn_frontend.sh [FOLDER]
  Puts the headers of nvidia-cudnn-frontend $version into FOLDER/include (build/cudnn_frontend unless named; there they are found
  by CMake; elsewhere set CUDNN_FRONTEND_PATH). Needs pip and a network, once."
    exit 0
    ;;
esac
to=${1:-$root/build/cudnn_frontend}
if [[ $(cat "$to/include/cudnn_frontend.version" 2>/dev/null) == "$version" ]]; then exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --no-deps --disable-pip-version-check --retries 1 --timeout 20 --root-user-action ignore --target "$work" "nvidia-cudnn-frontend==$version"
test -f "$work/include/cudnn_frontend.h"
mkdir -p "$to/include"
cp -r "$work/include/." "$to/include"
echo "$version" >"$to/include/cudnn_frontend.version"
