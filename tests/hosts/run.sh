#!/usr/bin/env bash
# Two hosts on this machine, and a command that sees them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=hosts.sh
source "$here/hosts.sh"

usage() {
  cat <<'TEXT'
usage: tests/hosts/run.sh [options] COMMAND...
  Runs COMMAND on node1, one of two hosts with addresses, names, processes, /dev/shm and disks (/run/node) of their own. mpirun starts
  ranks on both of them (mpirun.sh), which reach each other by TCP. /tmp is a file system that they share, as over NFS: each mounts one
  folder for itself (bindfs), with a cache of its own, and locks (flock) do not reach the other. The rest of the disk is the same for
  both. Needs root.

  --places WAY   halves (default): half of the ranks, or of the groups of parallel.tp ranks, on node1, the others on node2; pairs:
                 two on each before there are more; far: all on node2
  --locks        locks reach the other host
  --late         a host that has looked for a file in vain learns up to three seconds late that the other one has made it
  --delay US     a message between the hosts takes so many microseconds more (slow_link.c)
  --rate MBIT    so many megabits pass in a second, each way
  --help         this text
exit status: COMMAND's; 77 where such hosts cannot be made, which it then says; 2 wrong usage
TEXT
}

fail() {
  echo "run.sh: $2" >&2
  exit "$1"
}

arguments=("$@")
mount_options=()
export HOSTS_PLACES=halves HOSTS_DELAY=0 HOSTS_RATE=0
while (($#)); do
  case $1 in
  -h | --help)
    usage
    exit 0
    ;;
  --places | --delay | --rate)
    (($# > 1)) || fail 2 "$1 needs a value (see --help)"
    case $1 in
    --places) HOSTS_PLACES=$2 ;;
    --delay) HOSTS_DELAY=$2 ;;
    --rate) HOSTS_RATE=$2 ;;
    esac
    shift 2
    ;;
  --locks)
    mount_options+=(--enable-lock-forwarding --multithreaded)
    shift
    ;;
  --late)
    mount_options+=(-o negative_timeout=3)
    shift
    ;;
  -*) fail 2 "unknown option '$1' (see --help)" ;;
  *) break ;;
  esac
done
(($#)) || fail 2 "no command (see --help)"
[[ $HOSTS_PLACES =~ ^(halves|pairs|far)$ ]] || fail 2 "--places $HOSTS_PLACES: expected halves, pairs or far"
[[ $HOSTS_DELAY =~ ^[0-9]+$ && $HOSTS_RATE =~ ^[0-9]+$ ]] || fail 2 "--delay '$HOSTS_DELAY', --rate '$HOSTS_RATE': expected whole numbers"
hosts_enter "bindfs mpirun" "$here/run.sh" "${arguments[@]}"
[[ $(mpirun --version 2>/dev/null) == *'Open MPI'* ]] || { echo "skipped: mpirun is not Open MPI's"; exit 77; }
[[ -r /dev/fuse ]] || { echo "skipped: no FUSE here (/dev/fuse)"; exit 77; }
[[ $PWD/ != /tmp/* && $here != /tmp/* ]] || { echo "skipped: the hosts have another /tmp, which hides $PWD and $here"; exit 77; }

work=$(mktemp -d /var/tmp/llava_rlhf_hosts_XXXXXX)
# Nothing writes there any more once the other host is gone.
end() {
  if [[ -e $work/node2.pid ]]; then hosts_kill node2; fi
  rm -rf "$work"
}
trap end EXIT
mkdir -m 1777 "$work/shared"
hosts_connect "$work" node1 node2
if ((HOSTS_DELAY || HOSTS_RATE)); then hosts_slow node2 "$HOSTS_DELAY" "$HOSTS_RATE"; fi
share=(bindfs -o nonempty -o attr_timeout=0 -o entry_timeout=0 "${mount_options[@]}" "$work/shared" /tmp)
"${share[@]}"
export HOSTS_MPIRUN=/run/node/mpirun HOSTS_AGENT=$here/agent.sh
program=$(readlink -f "$(command -v mpirun)")
cp "$program" "$HOSTS_MPIRUN"
mount --bind "$here/mpirun.sh" "$program"
export HOSTS_START="${share[*]} && sleep infinity"
hosts_start node2 "$HOSTS_START"
hosts_wait 120 hosts_answers node2 || fail 1 "node2 does not start: $(<"$work/log/node2")"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMP_WAIT_POLICY=passive
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_orte_tmpdir_base=/run/node
"$@"
