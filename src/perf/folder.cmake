if(LLAVA_HAS_PAPI)
  target_compile_definitions(llava_perf PRIVATE LLAVA_HAS_PAPI)
endif()
