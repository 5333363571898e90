# Hosts on this machine, each with a network address, a host name, processes and a disk of its own (namespaces); to be sourced by a
# script that hosts_enter has put into namespaces of its own, with which all of it disappears. The script's own host is the first.
# shellcheck shell=bash

# Starts SCRIPT with its ARGUMENTS anew, as root of its own namespaces; returns there. Ends with status 77, and says why, where that
# cannot be, or where one of the NEEDED commands (one word, blanks between them) is missing.
hosts_enter() { # NEEDED SCRIPT ARGUMENTS...
  if [[ ${HOSTS_INSIDE:-} == yes ]]; then return 0; fi
  local need needed
  read -r -a needed <<<"$1"
  shift
  for need in "${needed[@]}" ip unshare nsenter pgrep; do
    command -v "$need" >/dev/null || {
      echo "skipped: $need is not installed (jobs/setup.sh --develop)"
      exit 77
    }
  done
  [[ $(id -u) == 0 ]] || {
    echo "skipped: only root makes hosts"
    exit 77
  }
  unshare --net --pid --mount --uts --fork true 2>/dev/null || {
    echo "skipped: the kernel lets nobody have namespaces here"
    exit 77
  }
  HOSTS_INSIDE=yes exec unshare --net --pid --mount --uts --fork --kill-child --mount-proc "$@"
}

# Makes this the first host, called HERE, and a network with one more for each NAME, which hosts_start then starts. FOLDER keeps what
# is to be known of them; /run/node is each host's own disk.
hosts_connect() { # FOLDER HERE NAME...
  local name number=10
  export HOSTS_FOLDER=$1
  hostname "$2"
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /dev/shm
  mkdir -p "$HOSTS_FOLDER/log"
  mkdir -m 1777 /run/node
  printf '127.0.0.1 localhost\n10.77.0.1 %s\n' "$2" >"$HOSTS_FOLDER/hosts"
  ip link set lo up
  ip link add cluster type bridge
  ip address add 10.77.0.1/24 dev cluster
  ip link set cluster up
  shift 2
  for name in "$@"; do
    number=$((number + 1))
    echo "10.77.0.$number $name" >>"$HOSTS_FOLDER/hosts"
    ip netns add "$name"
    ip link add "to$name" type veth peer name eth0 netns "$name"
    hosts_plug "$name"
    ip netns exec "$name" ip link set lo up
  done
  mount --bind "$HOSTS_FOLDER/hosts" /etc/hosts
}

# Gives the two ends of the cable between the network and host NAME, to$NAME and its eth0, their places.
hosts_plug() {
  ip link set "to$1" master cluster up
  ip netns exec "$1" ip address add "$(awk -v name="$1" '$2 == name { print $1 }' "$HOSTS_FOLDER/hosts")/24" dev eth0
  ip netns exec "$1" ip link set eth0 up
}

# Puts a slow cable (slow_link.c, which is compiled here) between the network and host NAME: see there.
hosts_slow() { # NAME DELAY RATE
  cc -O2 -o /run/slow_link "$(dirname "${BASH_SOURCE[0]}")/slow_link.c"
  ip link delete "to$1"
  /run/slow_link "to$1" slow "$2" "$3" >"$HOSTS_FOLDER/log/slow_link" 2>&1 &
  hosts_wait 120 grep -sq ready "$HOSTS_FOLDER/log/slow_link" || { cat "$HOSTS_FOLDER/log/slow_link"; return 1; }
  ip link set slow netns "$1" name eth0 mtu 9000
  ip link set "to$1" mtu 9000
  hosts_plug "$1"
}

# Host NAME, in a shell that runs COMMANDS and is over with them.
hosts_start() { # NAME COMMANDS
  # shellcheck disable=SC2016 # expanded on the host
  nsenter "--net=/run/netns/$1" unshare --pid --mount --uts --fork --kill-child --mount-proc bash -c '
    hostname "$0"
    mount -t tmpfs -o mode=1777 tmpfs /run/node
    mount -t tmpfs tmpfs /dev/shm
    eval "$1"
    exit' "$1" "$2" >>"$HOSTS_FOLDER/log/$1" 2>&1 &
  echo $! >"$HOSTS_FOLDER/$1.pid"
  disown
}

# Becomes COMMAND on host NAME, in the folder of this name there and with this environment.
hosts_become() { # NAME COMMAND...
  local first
  first=$(pgrep --parent "$(<"$HOSTS_FOLDER/$1.pid")") || return 255
  shift
  # shellcheck disable=SC2016 # expanded on the host
  exec nsenter --target="$first" --net --pid --mount --uts sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}

# Whether COMMANDS of hosts_start have come to their end, `sleep infinity`.
hosts_answers() { # NAME
  (hosts_become "$1" pgrep sleep) >/dev/null 2>&1
}

# The host loses power, and all that was on its disk.
hosts_kill() { # NAME
  local process
  process=$(<"$HOSTS_FOLDER/$1.pid")
  kill -KILL "$process" 2>/dev/null || true
  timeout 10 tail --pid="$process" -f /dev/null || true
}

# SECONDS COMMAND...: waits until COMMAND succeeds; fails if that takes longer.
hosts_wait() {
  local limit=$((SECONDS + $1))
  shift
  until "$@"; do
    if ((SECONDS > limit)); then return 1; fi
    sleep 0.1
  done
}
