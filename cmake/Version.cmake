# build_info.h for --version, made anew at each build (the commit changes without a configure).
add_custom_target(llava_build_info
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DOUT=${PROJECT_BINARY_DIR}/generated/build_info.h
          -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE} "-DCOMPILER=${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}"
          -P ${PROJECT_SOURCE_DIR}/cmake/BuildInfo.cmake
  BYPRODUCTS ${PROJECT_BINARY_DIR}/generated/build_info.h)
add_dependencies(llava_rlhf llava_build_info)
target_include_directories(llava_rlhf PRIVATE ${PROJECT_BINARY_DIR}/generated)
