#!/bin/sh
# The first process of the emulated machine: runs the tests that are listed in /tests/list, says how each of them ended (run.sh reads
# the lines that begin with @), and switches the machine off.
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
ifconfig lo 127.0.0.1 up
# MPI alone, without daemons and network.
export OMPI_MCA_ess_singleton_isolated=1 OMPI_MCA_btl=self OMPI_MCA_mca_base_component_show_load_errors=0 OMP_WAIT_POLICY=passive HOME=/tmp

for flag in avx2 fma avx512f avx512bw avx512dq avx512vl; do
  grep -qw "$flag" /proc/cpuinfo || echo "@missing $flag"
done
while read -r program arguments; do
  echo "@begin $program"
  # shellcheck disable=SC2086 # several arguments, or none
  "/tests/$program" $arguments </dev/null
  echo "@end $program $?"
done </tests/list
echo "@done"
poweroff -f
