# A Slurm cluster of two nodes on this machine (tests/hosts/hosts.sh), and a head where its script runs; to be sourced by a script
# that cluster_enter has put into namespaces of its own, with which all of it disappears. The script has a function `fail`, which says
# what went wrong and ends it.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=../hosts/hosts.sh
source "$(dirname "${BASH_SOURCE[0]}")/../hosts/hosts.sh"

# Starts this SCRIPT with its ARGUMENTS anew, as root of its own namespaces; returns there.
cluster_enter() {
  hosts_enter "slurmctld slurmd srun munged" "$@"
}

# WORK: a folder that all nodes see.
cluster_start() {
  cluster=$1
  unset OMPI_MCA_btl # ranks of one machine are told to use nothing but its memory (jobs/local/environment.sh)
  hosts_connect "$cluster" head node1 node2
  mkdir -p "$cluster/state" /run/munge
  cluster_write_configuration
  export SLURM_CONF=$cluster/slurm.conf
  export TMPDIR=/run/node
  # Everything that has this key is one cluster. Its owner is who runs munged.
  dd if=/dev/urandom of=/run/munge/key bs=128 count=1 status=none
  chmod 0400 /run/munge/key
  munged --force --key-file=/run/munge/key --socket=/run/munge/socket --pid-file=/run/munge/pid --seed-file=/run/munge/seed \
    --log-file=/run/munge/log --num-threads=2 2>>"$cluster/log/munged"
  slurmctld -c -L "$cluster/log/slurmctld" >/dev/null
  node_start node1
  node_start node2
  cluster_wait 300 "the nodes are idle" cluster_nodes_are idle
}

# Daemons that write into the folder of the cluster end; what runs on the nodes ends with this script.
cluster_stop() {
  if [[ -s /run/slurmctld.pid ]]; then kill "$(</run/slurmctld.pid)" || true; fi
  hosts_kill node1
  hosts_kill node2
  if [[ -s /run/slurmctld.pid ]]; then timeout 10 tail --pid="$(</run/slurmctld.pid)" -f /dev/null || true; fi
}

cluster_write_configuration() {
  cat >"$cluster/slurm.conf" <<END
ClusterName=test
SlurmctldHost=head(10.77.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that was put back into the queue rests as long as its old credentials hold.
AuthInfo=socket=/run/munge/socket,cred_expire=5
StateSaveLocation=$cluster/state
SlurmdSpoolDir=/run/node/spool
TmpFS=/run/node
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd_%n.pid
SlurmdLogFile=$cluster/log/slurmd_%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
MailProg=/bin/true
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1,sched_min_interval=0,preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=node1 NodeAddr=10.77.0.11 CPUs=2 CoresPerSocket=2 RealMemory=1000 Gres=gpu:2
NodeName=node2 NodeAddr=10.77.0.12 CPUs=2 CoresPerSocket=2 RealMemory=1000 Gres=gpu:2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 MaxTime=60
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF MaxTime=60
END
  # Nothing is behind them; what counts is that Slurm hands them out.
  touch "$cluster/gpu0" "$cluster/gpu1"
  echo "Name=gpu File=$cluster/gpu[0-1]" >"$cluster/gres.conf"
}

# Starts NODE with its daemon.
node_start() {
  # shellcheck disable=SC2016 # expanded on the node
  hosts_start "$1" 'mkdir /run/node/spool; slurmd -D -N "$0"'
}

# SECONDS WHAT COMMAND...: waits until COMMAND succeeds; ends the test if that takes longer.
cluster_wait() {
  local limit=$1 what=$2
  shift 2
  if hosts_wait "$limit" "$@"; then return; fi
  echo "waited in vain: $what"
  squeue --all || true
  sinfo || true
  tail -n 15 "$cluster"/log/* || true
  exit 1
}

# Whether both nodes are in STATE.
cluster_nodes_are() {
  [[ $(sinfo --noheader --partition=low --format=%T | sort -u) == "$1" ]]
}

# FIELD of JOB as scontrol shows it.
job_field() {
  scontrol show job --oneliner "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}

# Waits for JOB, and expects it to have ended well.
job_wait() {
  cluster_wait 300 "job $1 is over" job_is_over "$1"
  job_is "$1" COMPLETED || fail "job $1 is $(job_field "$1" JobState)"
}

job_is_over() {
  [[ $(job_field "$1" JobState) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|PREEMPTED)$ ]]
}

job_is() { # JOB STATE
  [[ $(job_field "$1" JobState) == "$2" ]]
}
