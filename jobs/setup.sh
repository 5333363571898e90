#!/usr/bin/env bash
# Installs the Debian packages that building, testing and running need: only those that are missing, and only as root or
# where sudo lets us. Elsewhere it says what is missing. Called by quickstart.sh and tests/run.sh.
set -euo pipefail

usage() {
  cat <<'END'
usage: jobs/setup.sh [--develop] [--check | --list]
  (nothing)  installs what is missing; needs root or sudo, and only if something is missing
  --check    only says what is missing
  --list     prints all packages that are needed
  --develop  all of this with what more tests need: clang and its tools, shellcheck, Slurm
exit status: 0 nothing is missing (any more), 2 something is, and it cannot be installed here
END
}

# A command stands for its package where it is there in any way (a module, a newer version).
commands=(
  gcc:gcc g++:g++ cmake:cmake ninja:ninja-build pkg-config:pkg-config mpicc:libopenmpi-dev mpirun:openmpi-bin
)
libraries=(
  libhdf5-dev            # files; the parallel one, libhdf5-openmpi-dev, does as well
  libopenblas-openmp-dev # matrix products
  libsentencepiece-dev   # tokenizers: SentencePiece's
  libpcre2-dev           # those of tokenizer.json: patterns that cut words
  libutf8proc-dev        # Unicode's normal form
  libjpeg-dev            # images
  libpng-dev
  libwebp-dev            # the program can do without: WebP files are then refused
  libyajl-dev            # JSON
  libxxhash-dev          # checksums
  librandom123-dev       # random numbers
  zlib1g-dev             # compression
  libcmocka-dev          # tests
)
develop_commands=(
  clang:clang clang-tidy:clang-tidy clang-format:clang-format shellcheck:shellcheck
  slurmctld:slurmctld slurmd:slurmd srun:slurm-client munged:munge ip:iproute2 # job scripts are tried in a Slurm of their own
  bindfs:bindfs # a file system that two hosts mount, each for itself (tests/hosts)
  mandoc:mandoc lua5.4:lua5.4 tclsh:tcl # the manual page, module files
)
develop_libraries=(
  libomp-dev       # threads in what clang builds
  libclang-rt-dev  # its sanitizers, and libFuzzer
  libpapi-dev      # hardware events, which the program can do without
)

installed() {
  if [[ $1 == libhdf5-dev ]] && installed libhdf5-openmpi-dev; then return 0; fi
  [[ $(dpkg-query -W -f='${Status}' "$1" 2>/dev/null) == 'install ok installed' ]]
}

find_missing() {
  local entry
  missing=()
  for entry in "${commands[@]}"; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
  done
  # Without dpkg (another system, modules) CMake is the one that finds the libraries, or says which it misses.
  command -v dpkg-query >/dev/null || return 0
  for entry in "${libraries[@]}"; do
    installed "$entry" || missing+=("$entry")
  done
}

# Sets `as_root` to what runs a command as root; fails where nothing does.
find_root() {
  as_root=()
  if [[ $(id -u) == 0 ]]; then return 0; fi
  command -v sudo >/dev/null || return 1
  as_root=(sudo)
  sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }
}

cannot_install() {
  echo "setup: $1" >&2
  echo "setup: these packages are missing; ask whoever may install them, and start again:" >&2
  echo "  apt-get install ${missing[*]}" >&2
  exit 2
}

install_missing() {
  command -v apt-get >/dev/null || cannot_install "there is no apt-get here"
  find_root || cannot_install "not root, and sudo is not to be had"
  echo "setup: installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update || echo "setup: the package lists could not be renewed; trying with those that are here" >&2
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    cannot_install "apt-get could not install them (its message is above)"
}

main() {
  if [[ ${1:-} == --develop ]]; then
    commands+=("${develop_commands[@]}")
    libraries+=("${develop_libraries[@]}")
    shift
  fi
  case ${1:-} in
  -h | --help) usage ;;
  --list)
    printf '%s\n' "${commands[@]#*:}" "${libraries[@]}"
    ;;
  --check)
    find_missing
    ((${#missing[@]} == 0)) || cannot_install "nothing was installed"
    ;;
  '')
    find_missing
    if ((${#missing[@]})); then install_missing; fi
    ;;
  *)
    usage >&2
    exit 2
    ;;
  esac
}
main "$@"
