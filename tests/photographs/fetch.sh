#!/usr/bin/env bash
# Gets the photographs of tests/photographs out of four Debian packages (7 MB), without installing anything.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<'END'
usage: tests/photographs/fetch.sh [FOLDER]
  Puts 14 photographs (JPEG: baseline, progressive, grey, with EXIF data, 205 x 102 to 2268 x 1512 pixels) into FOLDER
  (.cache/photographs in the source tree), where the test 'photographs' looks for them; LLAVA_RLHF_TEST_PHOTOGRAPHS
  names another folder to the test. Needs apt-get and dpkg-deb and the network, unless they are there already.
exit status: 0 they are there, 1 they cannot be had, 2 wrong usage
END
}

fail() {
  echo "fetch.sh: $2" >&2
  exit "$1"
}

# The packages, as in Debian 12.
packages=(
  darknet                                  # 0.0.0+git20180914.61c9d02e-2+b4
  librust-jpeg-decoder-dev                 # 0.2.6-1
  golang-github-disintegration-imaging-dev # 1.6.2-2
  golang-github-rwcarlsen-goexif-dev       # 0.0~git20190401.9e8deec-2
)

# SHA-256, name here, path below /usr/share there. Another version of a package will do if its photographs are the same.
photographs='
5a9522051c3cec2bbd2f6323fccba32e8fbf3ddcc2b3e2fd46b04c720bc6f866 dog.jpg darknet/data/dog.jpg
f95f57297fd51a6c5ddceb5ed6916fa759d1d65f402fee34c05b31a9608755c0 eagle.jpg darknet/data/eagle.jpg
00dc48a9b2af8a1fe4c4b79319726591f1033c7e1150f21e7577a79f3b6659f1 giraffe.jpg darknet/data/giraffe.jpg
c8f0a677a1356569e2ce71d2fa88c1030c0ae57ecf5e14170e02d9a86a20dcb4 horses.jpg darknet/data/horses.jpg
87410f52f79cc256c3949b48a3548632c07c8e9943468ef8caa6250f6643be8e kite.jpg darknet/data/kite.jpg
cdcbab947e46110fc2b77784ac54ddbbab2640f1e44cb5e91fc8984a9793a7d1 person.jpg darknet/data/person.jpg
dcab7bae866fbb396e01ab27a9c8d2d40b3e80911dafb05a5fa18d1bac6b8d17 scream.jpg darknet/data/scream.jpg
2c723eaa3f1740072266feeb1e443b8b5069d929e2dc725675e1cfeb8ddec997 branches.jpg gocode/src/github.com/disintegration/imaging/testdata/branches.jpg
c3034419772b425134fd69f5cdc43143038b36c9202d8a93ca74d207da09aa2e throne.jpg gocode/src/github.com/rwcarlsen/goexif/exif/sample1.jpg
89cffab580a0fab0da8e553e1fd141c2a3ef75767dd6fa3ef2c45ed47081bdd8 garden.jpg gocode/src/github.com/rwcarlsen/goexif/exif/samples/has-lens-info.jpg
4cd902020e963fffd23e3a0d0be71207efe665265518fe5a3809ba77699a5fd0 hibiscus.jpg cargo/registry/jpeg-decoder-0.2.6/benches/large_image.jpg
40b5ae0df66540ba3ac60edf2840b4b8edd0500706105f3b63083e3a8993119a tower.jpg cargo/registry/jpeg-decoder-0.2.6/benches/tower.jpg
90519862a5bc59ca5702ff802a2f16e8cdcd28b124f891bb03556b920742d94e tower_grey.jpg cargo/registry/jpeg-decoder-0.2.6/benches/tower_grayscale.jpg
e87bac231e2c11b1aef6981358189ad5c51f67069a43131b1512ed823a7607c6 tower_progressive.jpg cargo/registry/jpeg-decoder-0.2.6/benches/tower_progressive.jpg
'

# Are all of them in FOLDER, unchanged?
complete() {
  awk 'NF { print $1 "  " $2 }' <<<"$photographs" | (cd "$1" && sha256sum --check --status) 2>/dev/null
}

case ${1:-} in
-h | --help)
  usage
  exit 0
  ;;
-*) fail 2 "unknown option '$1' (see --help)" ;;
esac
(($# <= 1)) || fail 2 "one folder at most (see --help)"
folder=$(realpath -m "${1:-${LLAVA_RLHF_TEST_PHOTOGRAPHS:-$root/.cache/photographs}}")

if [[ -d $folder ]] && complete "$folder"; then exit 0; fi
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || fail 1 "$tool is needed"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/found"
for package in "${packages[@]}"; do
  (cd "$work" && apt-get download "$package") >"$work/said" 2>&1 ||
    { cat "$work/said" >&2; fail 1 "the package $package cannot be downloaded (apt-get update may help)"; }
done
for file in "$work"/*.deb; do
  dpkg-deb -x "$file" "$work/unpacked"
done
while read -r _ name path; do
  [[ -n $name ]] || continue
  cp "$work/unpacked/usr/share/$path" "$work/found/$name" || fail 1 "no package has $path any more"
done <<<"$photographs"
complete "$work/found" || fail 1 "the photographs of these packages are not those that the test knows"
mkdir -p "$folder"
cp "$work/found"/* "$folder"
echo "14 photographs in $folder"
