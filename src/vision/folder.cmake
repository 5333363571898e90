# A multiplication and an addition fused into one rounding would change weights, and so pixels, of the resampling.
target_compile_options(llava_vision PRIVATE -ffp-contract=off)
# Chosen at run time, so that the program starts on any machine of the architecture.
set(avx2_source ${PROJECT_SOURCE_DIR}/src/vision/passes_avx2.c)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_definitions(llava_vision PUBLIC VISION_HAS_AVX2)
  set_source_files_properties(${avx2_source} PROPERTIES COMPILE_OPTIONS -mavx2)
else()
  set_source_files_properties(${avx2_source} PROPERTIES HEADER_FILE_ONLY ON)
endif()
