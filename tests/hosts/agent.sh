#!/usr/bin/env bash
# What mpirun calls instead of ssh: agent.sh HOST COMMAND LINE...
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=hosts.sh
source "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
host=$1
shift
hosts_become "$host" sh -c "$*"
