#!/usr/bin/env bash
# The sources can be a part of another CMake project: nothing but the program is configured there, and the outer project's own
# settings stay what they are.
# usage: test_subproject.sh ROOT
set -euo pipefail
root=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(outer LANGUAGES C CXX)
add_subdirectory($root llava_rlhf)
foreach(target llava_rlhf llava_base llava_io)
  if(NOT TARGET \${target})
    message(FATAL_ERROR "target \${target} is missing")
  endif()
endforeach()
if(TARGET test_log OR TARGET llava_bench_ops)
  message(FATAL_ERROR "tests or benchmarks came along")
endif()
if(CMAKE_BUILD_TYPE)
  message(FATAL_ERROR "the build type of the outer project was set to \${CMAKE_BUILD_TYPE}")
endif()
END
cmake -S "$scratch" -B "$scratch/build" -G Ninja >"$scratch/said" 2>&1 || {
  cat "$scratch/said"
  exit 1
}
