# folder(NAME DIR LINKS ...): the static library NAME of the sources in DIR (not of its sub-folders). Its headers are included as
# "base/status.h" (below src/) or "io/weights.h" (below the root).
function(folder name dir)
  cmake_parse_arguments(ARG "" "" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.c ${CMAKE_SOURCE_DIR}/${dir}/*.cc)
  add_library(${name} STATIC ${sources})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE C)
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_LINKS})
  if(EXISTS ${CMAKE_SOURCE_DIR}/${dir}/folder.cmake)
    include(${CMAKE_SOURCE_DIR}/${dir}/folder.cmake)
  endif()
endfunction()
