#!/usr/bin/env bash
# Packs PROGRAMS with all they load, but for the C library, the NVIDIA driver and CUDA's libraries, into one archive that runs where
# it is unpacked: on x86-64 Linux with a C library no older than the one here. Open MPI travels with the components that one machine
# needs, and the quickstart with its inputs. In it, `run PROGRAM ...` starts a program, `run mpirun ...` several ranks of it, `run check`
# the tests for GPUs, and `run quickstart` the quickstart.
# usage: bundle.sh ARCHIVE PROGRAM...
set -euo pipefail
(($# >= 2)) || { echo "usage: bundle.sh ARCHIVE PROGRAM..." >&2; exit 2; }
archive=$(realpath -m "$1")
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
root=$tree/llava_rlhf
mkdir -p "$root/bin" "$root/lib" "$root/openmpi" "$root/pmix" "$root/share"

left_out='/(ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libresolv|libnsl|libutil|libcuda|libcudart|libcublas|libcublasLt|libnccl|libcudnn)[.]so'
not_needed='ucx|ofi|openib|verbs|psm|usnic|portals|monitoring|vprotocol|_io_|_fs_|_fbtl_|_fcoll_|_sharedfp_|_crs_|_compress_|_plm_slurm|_plm_tm|_ras_'

# The libraries that a file loads.
libraries() { ldd "$1" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | { grep -Ev "$left_out" || true; }; }
take_libraries() {
  local library
  while read -r library; do cp -Lnu "$library" "$root/lib/"; done < <(libraries "$1")
}

cp "$here/bundle_run.sh" "$root/run"
mkdir -p "$root/inputs/base" "$root/jobs/local"
cp "$here"/../inputs/*.nml "$root/inputs/"
cp "$here"/../inputs/base/* "$root/inputs/base/"
cp "$here/../jobs/quickstart.sh" "$root/jobs/"
cp "$here"/../jobs/local/*.sh "$root/jobs/local/"
for program in "$@" "$(command -v mpirun)" "$(command -v orted)"; do
  cp -L "$program" "$root/bin/"
  take_libraries "$program"
done
components=$(ompi_info --path pkglibdir --parsable | sed 's/.*://')
for component in "$components"/mca_*.so; do
  [[ $(basename "$component") =~ $not_needed ]] && continue
  cp -L "$component" "$root/openmpi/"
  take_libraries "$component"
done
pmix=$(find /usr/lib -path '*pmix2/lib/pmix' -type d -print -quit)
if [[ $pmix ]]; then
  for component in "$pmix"/pmix_mca_*.so; do
    [[ $(basename "$component") =~ prm_slurm|prm_tm|pnet|pcompress ]] && continue
    cp -L "$component" "$root/pmix/"
    take_libraries "$component"
  done
fi
cp -r "$(ompi_info --path pkgdatadir --parsable | sed 's/.*://')" "$root/share/openmpi"
chmod -R u+w "$root"
find "$root/bin" "$root/lib" -type f -exec strip --strip-unneeded {} + 2>/dev/null || true
mkdir -p "$(dirname "$archive")"
tar -C "$tree" --owner=0 --group=0 --sort=name -cf - llava_rlhf | gzip >"$archive"
size=$(stat -c %s "$archive")
echo "$archive: $((size >> 20)) MiB"
if ((size > 60 << 20)); then
  echo "bundle.sh: more than 60 MiB" >&2
  exit 1
fi
