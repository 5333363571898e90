#!/usr/bin/env bash
# Runs tests of the cpu device at SIMD level avx512 on machines without AVX-512: in Bochs, an emulator of a whole PC.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

# Below build/release/tests: what runs kernels, from the smallest on. Programs without an argument for the level take the best one.
tests=(
  'tensor/test_cpu_levels'
  'tensor/test_cpu_few_rows'
  'train/test_reward_golden'
  'model/test_golden'
  'ppo/test_ppo_update'
  'rollout/test_engine'
  'train/test_parity'
  'model/test_devices'
  'tensor/test_cpu_bits'
  'rollout/test_generator'
  'tensor/test_weight_nf4 avx512'
  'tensor/test_cpu_ops avx512'
)

usage() {
  cat <<'END'
usage: tests/avx512/run.sh [options] [TEST ...]
  Builds tests of the cpu device with preset release, starts them in an emulated PC whose processor has AVX-512, and ends with the
  line 'N passed, N failed, N skipped'. It is for those who change src/tensor/cpu/simd on a machine without AVX-512, where the other
  tests skip that level. The emulator is some hundred times slower than a processor: test_cpu_few_rows, a tenth of a second
  there, takes one or two minutes, and test_cpu_ops is the longest by far.

  TEST            one or more of the tests by name, such as test_cpu_few_rows; all by default
  --build-dir DIR where to build (build/release in the source tree)
  --kernel FILE   the Linux kernel to boot; by default that of Debian's package linux-image-cloud-amd64, which is downloaded
                  once to .cache/avx512 and not installed
  --minutes N     gives up after N minutes (180)
  --help          this text
  Debian's packages that it needs: bochs bochs-term isolinux syslinux-common xorriso busybox-static cpio. BOCHS and BXSHARE name another
  build of Bochs (configured with --enable-evex --with-term; without Debian's debugger it is faster) and the folder of its BIOS files.
exit status: 0 all passed, 1 tests failed or the build did, 2 wrong usage, 77 skipped: something is missing that the message names
END
}

fail() {
  echo "run.sh: $2" >&2
  exit "$1"
}
skip() {
  echo "skipped: $1"
  exit 77
}

build=$root/build/release
kernel=
minutes=180
wanted=()
need_value() { (($2 > 1)) || fail 2 "$1 needs a value (see --help)"; }
while (($#)); do
  case $1 in
  -h | --help)
    usage
    exit 0
    ;;
  --build-dir)
    need_value "$1" $#
    build=$(realpath -m "$2")
    shift 2
    ;;
  --kernel)
    need_value "$1" $#
    kernel=$2
    shift 2
    ;;
  --minutes)
    need_value "$1" $#
    minutes=$2
    shift 2
    ;;
  -*) fail 2 "unknown option '$1' (see --help)" ;;
  *)
    wanted+=("$1")
    shift
    ;;
  esac
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || fail 2 "--minutes '$minutes': expected a whole number from 1"
if ((${#wanted[@]})); then
  chosen=() names=("${tests[@]%% *}")
  for name in "${wanted[@]}"; do
    found=
    for test in "${tests[@]}"; do
      if [[ ${test%% *} == */"$name" ]]; then found=$test; fi
    done
    [[ -n $found ]] || fail 2 "no test '$name' here; expected some of ${names[*]##*/}"
    chosen+=("$found")
  done
  tests=("${chosen[@]}")
fi

# What it takes.
bochs=${BOCHS:-bochs}
bios=${BXSHARE:-/usr/share/bochs}
isolinux=/usr/lib/ISOLINUX/isolinux.bin
ldlinux=/usr/lib/syslinux/modules/bios/ldlinux.c32
for tool in "$bochs" xorriso busybox cpio gzip; do
  command -v "$tool" >/dev/null || skip "$tool is not installed (run.sh --help has the list of packages)"
done
for file in "$isolinux" "$ldlinux" "$bios/BIOS-bochs-latest" "$bios/VGABIOS-lgpl-latest"; do
  [[ -e $file ]] || skip "there is no $file (run.sh --help has the list of packages)"
done
if ldd "$(command -v busybox)" >/dev/null 2>&1; then skip "busybox is linked to libraries; install busybox-static"; fi
said=$("$bochs" --help cpu 2>&1 || true)
[[ $said == *corei7_skylake_x* ]] || skip "this build of $bochs knows no processor with AVX-512 (corei7_skylake_x)"

work=$(mktemp -d)
pid=
trap 'if [[ -n $pid ]]; then kill "$pid" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

if [[ -z $kernel ]]; then
  kernel=$root/.cache/avx512/vmlinuz
  if [[ ! -e $kernel ]]; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '$1 == "Depends:" && $2 ~ /^linux-image/ { print $2; exit }')
    [[ -n $package ]] || skip "apt-cache knows no linux-image-cloud-amd64: apt-get update may help, or --kernel FILE"
    (mkdir "$work/kernel" && cd "$work/kernel" && apt-get download "$package") >"$work/said" 2>&1 ||
      { cat "$work/said" >&2; skip "the package $package cannot be downloaded (apt-get update may help, or --kernel FILE)"; }
    dpkg-deb -x "$work"/kernel/*.deb "$work/kernel"
    mkdir -p "$(dirname "$kernel")"
    cp "$work"/kernel/boot/vmlinuz-* "$kernel"
  fi
fi
[[ -r $kernel ]] || skip "the kernel $kernel cannot be read (--kernel FILE names another)"

# The tests.
[[ -e $build/CMakeCache.txt ]] || fail 1 "nothing is configured in $build: tests/run.sh --build-only first"
programs=("${tests[@]%% *}")
cmake --build "$build" --target "${programs[@]##*/}" >"$work/said" 2>&1 ||
  { cat "$work/said" >&2; fail 1 "the build of the tests failed (tests/run.sh --build-only configures a build with tests)"; }

# The file system: the tests with their libraries and golden files, busybox, MPI's plugins.
image=$work/root
mkdir -p "$image"/{bin,proc,sys,dev,tmp,tests}
cp "$(command -v busybox)" "$image/bin/busybox"
for tool in sh mount grep ifconfig poweroff; do ln -s busybox "$image/bin/$tool"; done
cp "$here/init.sh" "$image/init"
printf '%s\n' "${tests[@]}" >"$image/tests/list"
copy_libraries() {
  { ldd "$1" 2>/dev/null || true; } | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | while read -r library; do
    if [[ -e $image$library ]]; then continue; fi
    mkdir -p "$image$(dirname "$library")"
    cp -L "$library" "$image$library"
  done
}
for program in "${programs[@]}"; do
  mkdir -p "$image/tests/$(dirname "$program")"
  cp "$build/tests/$program" "$image/tests/$program"
  copy_libraries "$build/tests/$program"
done
for folder in "$root"/tests/{model,train}/golden; do
  mkdir -p "$image$folder"
  cp -r "$folder/." "$image$folder"
done
if command -v ompi_info >/dev/null; then
  plugins=$(ompi_info --parsable --path pkglibdir | sed 's/^path:pkglibdir://')
  mkdir -p "$image$plugins"
  cp -rL "$plugins/." "$image$plugins"
fi

# A CD to boot from. Linux and Bochs 2.7 do not agree how large a saved compact state is, and Linux would do without AVX: it is told not
# to use compact ones.
cd_files=$work/cd
mkdir "$cd_files"
cp "$isolinux" "$ldlinux" "$cd_files"
cp "$kernel" "$cd_files/vmlinuz"
(cd "$image" && find . | cpio --quiet -o -H newc) | gzip -1 >"$cd_files/initrd"
cat >"$cd_files/isolinux.cfg" <<'END'
default tests
prompt 0
label tests
kernel vmlinuz
append initrd=initrd console=ttyS0,115200 quiet mitigations=off tsc=reliable noxsaves clearcpuid=xsavec
END
xorriso -as mkisofs -quiet -o "$work/cd.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$cd_files" \
  >"$work/said" 2>&1 || { cat "$work/said" >&2; fail 1 "the CD cannot be made"; }

console=$work/console
cat >"$work/bochsrc" <<END
romimage: file=$bios/BIOS-bochs-latest, options=fastboot
vgaromimage: file=$bios/VGABIOS-lgpl-latest
cpu: model=corei7_skylake_x, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=768, host=768
ata0-master: type=cdrom, path=$work/cd.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$console
display_library: term
clock: sync=none
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
END
options=(-q -f "$work/bochsrc")
# A build with a debugger waits for a command.
if [[ $("$bochs" --help 2>&1 || true) == *'-rc filename'* ]]; then
  echo continue >"$work/commands"
  options+=(-rc "$work/commands")
fi
: >"$console"
TERM=linux nice -n 5 timeout --kill-after=5 "$((60 * minutes))" "$bochs" "${options[@]}" </dev/null >"$work/screen" 2>&1 &
pid=$!

# What it says, and how each test ended.
passed=0 missing=() over=no started=$SECONDS
while IFS= read -r line; do
  line=${line%$'\r'}
  case $line in
  '@missing '*) missing+=("${line#* }") ;;
  '@begin '*)
    started=$SECONDS
    echo "${line#* }"
    ;;
  '@end '*)
    read -r _ program status <<<"$line"
    if [[ $status == 0 ]]; then passed=$((passed + 1)); fi
    echo "  $program ended with status $status in $((SECONDS - started)) s"
    ;;
  @done) over=yes ;;
  '[ RUN '*) ;;
  *) echo "  $line" ;;
  esac
done < <(tail --pid="$pid" -s 1 -n +1 -f "$console" 2>/dev/null)
wait "$pid" || true
pid=
((${#missing[@]} == 0)) || fail 1 "the emulated processor lacks ${missing[*]}: the tests above say nothing of avx512"
if [[ $over == no ]]; then
  tail -n 5 "$work/bochs.log" >&2
  echo "run.sh: the emulated machine stopped, or was stopped after $minutes minutes, before all tests had ended" >&2
fi
echo "$passed passed, $((${#tests[@]} - passed)) failed, 0 skipped"
((passed == ${#tests[@]}))
