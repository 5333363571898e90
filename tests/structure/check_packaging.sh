#!/usr/bin/env bash
# Recipes of packaging/ as far as they can be checked without the tools that they are for: Python is executed with stand-ins, module
# files by Lua and Tcl, scripts of containers are read by bash and shellcheck; the options and presets that they name are there.
# usage: check_packaging.sh ROOT
set -euo pipefail
cd "$1"
failures=0
fail() {
  echo "$1"
  failures=$((failures + 1))
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
version=$(sed -nE 's/^project\(llava_rlhf VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)

# ---- Spack, EasyBuild ----
if command -v python3 >/dev/null; then
  export PYTHONDONTWRITEBYTECODE=1
  recipe=packaging/spack/packages/llava-rlhf/package.py
  options=$(python3 tests/structure/spack_stub.py "$recipe") || fail "$recipe cannot be executed"
  [[ $options == *LLAVA_RLHF_CUDA=OFF* ]] || fail "$recipe: without variants CUDA is not off"
  options=$(python3 tests/structure/spack_stub.py "$recipe" cuda tests) || fail "$recipe cannot be executed with cuda and tests"
  [[ $options == *LLAVA_RLHF_CUDA=ON* && $options == *'ARCHITECTURES=80;90a'* && $options == *LLAVA_RLHF_TESTS=ON* ]] ||
    fail "$recipe: cuda and tests give $options"
  for easyconfig in packaging/easybuild/*.eb; do
    python3 - "$easyconfig" "$version" <<'END' || fail "$easyconfig is not right"
import os, sys
path, version = sys.argv[1:]
scope = {name: name for name in ("SOURCELOWER_TAR_GZ", "GITHUB_SOURCE", "SYSTEM", "SHLIB_EXT")}
exec(compile(open(path).read(), path, "exec"), scope)
toolchain = scope["toolchain"]
assert os.path.basename(path) == f"{scope['name']}-{scope['version']}-{toolchain['name']}-{toolchain['version']}.eb"
assert scope["name"] != "llava_rlhf" or scope["version"] == version, f"version {scope['version']}, expected {version}"
assert scope["sanity_check_paths"]["files"]
END
  done
fi

# Options that a build does not know would be ignored.
while read -r option; do
  grep -qE "(option|set)\($option " CMakeLists.txt cmake/*.cmake || fail "packaging sets $option, which the build does not know"
done < <(grep -rohE 'LLAVA_RLHF_[A-Z]+' packaging | grep -v LLAVA_RLHF_SHARE | sort -u)
while read -r preset; do
  grep -q "{\"name\": \"$preset\", \"configurePreset\"" CMakePresets.json || fail "packaging uses preset $preset, which is not there"
done < <(grep -rohE 'cmake --preset [a-z]+' packaging | awk '{ print $3 }' | sort -u)

# ---- Module files ----
module=/opt/x/share/llava_rlhf/modulefiles/llava_rlhf/$version
expect_module() { # WHAT IT SAID
  [[ $2 == *'PATH=/opt/x/bin'* && $2 == *'MANPATH=/opt/x/share/man'* && $2 == *'LLAVA_RLHF_SHARE=/opt/x/share/llava_rlhf'* ]] ||
    fail "$1 sets: $2"
}
lua=$(command -v lua5.4 || command -v lua5.3 || command -v lua || true)
if [[ -n $lua ]]; then
  cat >"$scratch/lua" <<END
function myFileName() return "$module.lua" end
function myModuleVersion() return "$version" end
function help() end
function whatis() end
function pathJoin(a, b) return a .. "/" .. b end
function setenv(name, value) print(name .. "=" .. value) end
prepend_path = setenv
END
  expect_module llava_rlhf.lua "$(cat "$scratch/lua" packaging/modules/llava_rlhf.lua | "$lua" -)"
fi
if command -v tclsh >/dev/null; then
  cat >"$scratch/tcl" <<END
set ModulesCurrentModulefile $module
proc module-whatis {text} {}
proc setenv {name value} { puts "\$name=\$value" }
proc prepend-path {name value} { puts "\$name=\$value" }
source packaging/modules/llava_rlhf.tcl
END
  expect_module llava_rlhf.tcl "$(tclsh "$scratch/tcl")"
fi

# ---- Containers ----
for definition in packaging/apptainer/*.def; do
  for section in files post environment runscript test help; do
    grep -qx "%$section" "$definition" || fail "$definition has no section %$section"
  done
  while read -r section; do
    [[ $section =~ ^%(files|post|environment|runscript|test|help)$ ]] || fail "$definition: unknown section $section"
  done < <(grep '^%' "$definition")
  for section in post environment runscript test; do
    { echo '#!/bin/sh'; awk -v section="%$section" '/^%/ { inside = $0 == section; next } inside' "$definition"; } >"$scratch/$section"
    bash -n "$scratch/$section" || fail "$definition: %$section"
    if command -v shellcheck >/dev/null; then shellcheck "$scratch/$section" || fail "$definition: %$section"; fi
  done
done
exit $((failures > 0))
