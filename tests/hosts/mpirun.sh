#!/usr/bin/env bash
# Lies over Open MPI's mpirun on the hosts that run.sh makes, and calls it with what starts ranks on both of them, divided by
# HOSTS_PLACES: see there.
# shellcheck disable=SC2054 # commas are Open MPI's
set -euo pipefail
network=10.77.0.0/24
options=(--mca plm rsh --mca plm_rsh_agent "$HOSTS_AGENT" --mca orte_leave_session_attached 1
  --mca oob_tcp_if_include "$network" --mca btl_tcp_if_include "$network" --mca mpi_yield_when_idle 1 --mca pml ob1 --mca btl self,vader,tcp --mca osc '^ucx')
case ${HOSTS_PLACES:-halves} in
halves)
  ranks=1 tp=1
  if [[ "$*" =~ -np\ ([0-9]+) ]]; then ranks=${BASH_REMATCH[1]}; fi
  if [[ "$*" =~ parallel\.tp=([1-9][0-9]*) ]]; then tp=${BASH_REMATCH[1]}; fi
  groups=$(((ranks / tp + 1) / 2)) # whole groups of parallel.tp ranks
  first=$((groups * tp))
  options+=(--host "node1:$((first ? first : 1)),node2:1000" --map-by slot)
  ;;
pairs) options+=(--host node1:2,node2:2 --map-by slot --oversubscribe) ;;
far) options+=(--host node2:1000) ;;
*)
  echo "HOSTS_PLACES=$HOSTS_PLACES: expected halves, pairs or far" >&2
  exit 2
  ;;
esac
# Temporary files lie on the host's own disk; those of tests are the ranks' common work.
if [[ "$*" != */test_* ]]; then export TMPDIR=/run/node; fi
exec -a mpirun "$HOSTS_MPIRUN" "${options[@]}" "$@"
