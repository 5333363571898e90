# Outside libraries, as imported targets. Debian's packages are what the scripts install; other places work through CMAKE_PREFIX_PATH
# and PKG_CONFIG_PATH.
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)

function(pkg_target target)
  cmake_parse_arguments(ARG "" "" "MODULES" ${ARGN})
  foreach(module ${ARG_MODULES})
    string(MAKE_C_IDENTIFIER "PKG_${module}" prefix)
    pkg_check_modules(${prefix} IMPORTED_TARGET GLOBAL ${module})
    if(${prefix}_FOUND)
      add_library(${target} INTERFACE IMPORTED GLOBAL)
      target_link_libraries(${target} INTERFACE PkgConfig::${prefix})
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "None of the pkg-config modules '${ARG_MODULES}' was found (for ${target})")
endfunction()

# Serial or parallel: the program does not use MPI-IO. A parallel HDF5's header includes MPI's, so it must be of the same MPI.
include(CheckSymbolExists)
set(CMAKE_REQUIRED_LIBRARIES MPI::MPI_C)
check_symbol_exists(MPICH_VERSION mpi.h LLAVA_MPI_IS_MPICH)
unset(CMAKE_REQUIRED_LIBRARIES)
if(LLAVA_MPI_IS_MPICH)
  pkg_target(HDF5::HDF5 MODULES hdf5-serial hdf5-mpich hdf5)
else()
  pkg_target(HDF5::HDF5 MODULES hdf5-serial hdf5 hdf5-openmpi hdf5-mpi)
endif()
target_link_libraries(HDF5::HDF5 INTERFACE MPI::MPI_C)
pkg_target(libjpeg-turbo::jpeg MODULES libjpeg)
pkg_target(libpng::png MODULES libpng)
pkg_target(YAJL::YAJL MODULES yajl)
pkg_target(xxHash::xxHash MODULES libxxhash)
pkg_target(SentencePiece::SentencePiece MODULES sentencepiece)
pkg_target(PCRE2::PCRE2 MODULES libpcre2-8)
pkg_target(utf8proc::utf8proc MODULES libutf8proc)

# pkg_optional(WISH PREFIX MODULES...): PREFIX_FOUND and PkgConfig::PREFIX of what the program can do without. WISH: ON must have it, OFF
# leaves it out, AUTO takes it where it is there.
function(pkg_optional wish prefix)
  if(wish STREQUAL "AUTO")
    pkg_check_modules(${prefix} IMPORTED_TARGET GLOBAL ${ARGN})
  elseif(wish)
    pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET GLOBAL ${ARGN})
  else()
    set(${prefix}_FOUND OFF PARENT_SCOPE)
  endif()
endfunction()

set(LLAVA_RLHF_WEBP AUTO CACHE STRING "Read WebP images, with libwebp: ON, OFF, or AUTO, where it is there")
pkg_optional(${LLAVA_RLHF_WEBP} WEBP libwebp libwebpdemux)
set(LLAVA_HAS_WEBP ${WEBP_FOUND})
add_library(libwebp::webp INTERFACE IMPORTED GLOBAL)
if(LLAVA_HAS_WEBP)
  target_link_libraries(libwebp::webp INTERFACE PkgConfig::WEBP)
endif()

set(LLAVA_RLHF_PAPI AUTO CACHE STRING "Count hardware events, with PAPI: ON, OFF, or AUTO, where it is there")
pkg_optional(${LLAVA_RLHF_PAPI} PAPI papi)
set(LLAVA_HAS_PAPI ${PAPI_FOUND})
add_library(PAPI::PAPI INTERFACE IMPORTED GLOBAL)
if(LLAVA_HAS_PAPI)
  target_link_libraries(PAPI::PAPI INTERFACE PkgConfig::PAPI)
endif()

# The OpenMP build of OpenBLAS first: its threads are then the program's threads.
find_library(OPENBLAS_LIBRARY NAMES openblas PATH_SUFFIXES openblas-openmp REQUIRED)
find_path(OPENBLAS_INCLUDE NAMES cblas.h PATH_SUFFIXES openblas-openmp x86_64-linux-gnu/openblas-openmp openblas REQUIRED)
add_library(OpenBLAS::OpenBLAS UNKNOWN IMPORTED GLOBAL)
set_target_properties(OpenBLAS::OpenBLAS PROPERTIES IMPORTED_LOCATION ${OPENBLAS_LIBRARY}
                      INTERFACE_INCLUDE_DIRECTORIES ${OPENBLAS_INCLUDE})

find_path(RANDOM123_INCLUDE NAMES Random123/philox.h REQUIRED)
add_library(Random123::Random123 INTERFACE IMPORTED GLOBAL)
set_target_properties(Random123::Random123 PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${RANDOM123_INCLUDE})

# Device 'cuda': the toolkit is looked for only where it is asked for.
if(LLAVA_RLHF_CUDA)
  include(Cuda)
endif()
