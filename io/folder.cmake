# WebP where libwebp is there; without it a WebP file is refused by name.
if(LLAVA_HAS_WEBP)
  target_compile_definitions(llava_io PRIVATE LLAVA_HAS_WEBP)
else()
  set_source_files_properties(${PROJECT_SOURCE_DIR}/io/webp.c PROPERTIES HEADER_FILE_ONLY ON)
endif()
