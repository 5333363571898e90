# Writes OUT with version, commit, compiler and build type; leaves it alone where nothing changed.
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
                ERROR_QUIET RESULT_VARIABLE found)
if(found EQUAL 0)
  execute_process(COMMAND git -C ${SOURCE} status --porcelain OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    set(tree "with local changes")
  else()
    set(tree "clean")
  endif()
else()
  set(commit "unknown")
  set(tree "not a git checkout")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "/* Made by cmake/BuildInfo.cmake. */
#define BUILD_VERSION \"@VERSION@\"
#define BUILD_COMMIT \"@commit@\"
#define BUILD_TREE \"@tree@\"
#define BUILD_COMPILER \"@COMPILER@\"
#define BUILD_TYPE \"@BUILD_TYPE@\"
" @ONLY)
