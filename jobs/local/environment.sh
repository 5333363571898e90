# shellcheck shell=bash
# What mpirun needs on one machine; to be sourced. Settings that are already there stay.

# In containers people are root, and mpirun asks whether that is meant.
if [[ $(id -u) == 0 ]]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# Ranks of one machine speak through shared memory; copying straight out of another process is often forbidden in containers.
export OMPI_MCA_btl=${OMPI_MCA_btl:-self,vader}
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
# Threads that wait let others work: there may be more of them than cores.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

# mpirun_options NP: sets the array `mpirun_options` for NP ranks on this machine.
mpirun_options() {
  local cores
  cores=$(nproc)
  mpirun_options=(-np "$1")
  # Open MPI's mpirun counts cores where nproc counts hardware threads, so it may see fewer: then the ranks share them. MPICH's does
  # not ask.
  if [[ $(mpirun --version 2>/dev/null) != *'Open MPI'* ]]; then return; fi
  if (($1 > cores)) || (($1 > $(physical_cores))); then mpirun_options+=(--oversubscribe); fi
}

# Cores without their hardware threads; nproc's count where the system does not tell.
physical_cores() {
  local count
  count=$(cat /sys/devices/system/cpu/cpu*/topology/thread_siblings_list 2>/dev/null | sort -u | wc -l)
  if ((count)); then echo "$count"; else nproc; fi
}
