# build_info.h for --version, made anew at each build (the commit changes without a configure).
add_custom_target(build_info
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUT=${CMAKE_BINARY_DIR}/generated/build_info.h
          -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE} "-DCOMPILER=${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}"
          -P ${CMAKE_SOURCE_DIR}/cmake/BuildInfo.cmake
  BYPRODUCTS ${CMAKE_BINARY_DIR}/generated/build_info.h)
add_dependencies(llava_rlhf build_info)
target_include_directories(llava_rlhf PRIVATE ${CMAKE_BINARY_DIR}/generated)
