# A Slurm cluster of two nodes on this machine, each with a network address, a host name, processes and a disk of its own; to be
# sourced by a script that cluster_enter has put into namespaces of its own, with which all of it disappears. The script has a function
# `fail`, which says what went wrong and ends it.
# shellcheck shell=bash

# Starts this SCRIPT with its ARGUMENTS anew, as root of its own namespaces; returns there.
cluster_enter() {
  if [[ ${CLUSTER_INSIDE:-} == yes ]]; then return 0; fi
  local need
  for need in slurmctld slurmd srun munged ip unshare; do
    command -v "$need" >/dev/null || {
      echo "skipped: $need is not installed (jobs/setup.sh --develop)"
      exit 77
    }
  done
  [[ $(id -u) == 0 ]] || {
    echo "skipped: Slurm's daemons are started as root only"
    exit 77
  }
  unshare --net --pid --mount --uts --fork true 2>/dev/null || {
    echo "skipped: the kernel lets nobody have namespaces here"
    exit 77
  }
  CLUSTER_INSIDE=yes exec unshare --net --pid --mount --uts --fork --kill-child --mount-proc "$@"
}

# WORK: a folder that all nodes see.
cluster_start() {
  cluster=$1
  hostname head
  mount -t tmpfs tmpfs /run
  mkdir -p "$cluster"/{state,log} /run/munge /run/node
  cluster_write_configuration
  cluster_connect
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
  cluster_wait 60 "the nodes are idle" cluster_nodes_are idle
}

# Daemons that write into the folder of the cluster end; what runs on the nodes ends with this script.
cluster_stop() {
  if [[ -s /run/slurmctld.pid ]]; then kill "$(</run/slurmctld.pid)" || true; fi
  node_kill node1
  node_kill node2
  if [[ -s /run/slurmctld.pid ]]; then timeout 10 tail --pid="$(</run/slurmctld.pid)" -f /dev/null || true; fi
}

cluster_write_configuration() {
  printf '127.0.0.1 localhost\n10.77.0.1 head\n10.77.0.11 node1\n10.77.0.12 node2\n' >"$cluster/hosts"
  mount --bind "$cluster/hosts" /etc/hosts
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

# One network for head and nodes.
cluster_connect() {
  local node
  ip link set lo up
  ip link add cluster type bridge
  ip address add 10.77.0.1/24 dev cluster
  ip link set cluster up
  for node in 1 2; do
    ip netns add "node$node"
    ip link add "to$node" type veth peer name eth0 netns "node$node"
    ip link set "to$node" master cluster up
    ip netns exec "node$node" ip address add "10.77.0.1$node/24" dev eth0
    ip netns exec "node$node" ip link set eth0 up
    ip netns exec "node$node" ip link set lo up
  done
}

# Starts NODE's daemon, in a shell that ends with it.
node_start() {
  # shellcheck disable=SC2016 # expanded on the node
  nsenter "--net=/run/netns/$1" unshare --pid --mount --uts --fork --kill-child --mount-proc bash -c '
    hostname "$0"
    mount -t tmpfs tmpfs /run/node
    mount -t tmpfs tmpfs /dev/shm
    mkdir /run/node/spool
    slurmd -D -N "$0"
    exit' "$1" >>"$cluster/log/$1" 2>&1 &
  echo $! >"$cluster/$1.pid"
  disown
}

# The node loses power, and all that was on its disk.
node_kill() {
  local process
  process=$(<"$cluster/$1.pid")
  kill -KILL "$process" 2>/dev/null || true
  timeout 10 tail --pid="$process" -f /dev/null || true
}

# SECONDS WHAT COMMAND...: waits until COMMAND succeeds; ends the test if that takes longer.
cluster_wait() {
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    if ((SECONDS > limit)); then
      echo "waited in vain: $what"
      squeue --all || true
      sinfo || true
      tail -n 15 "$cluster"/log/* || true
      exit 1
    fi
    sleep 0.2
  done
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
