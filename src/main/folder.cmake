if(LLAVA_RLHF_CUDA)
  target_compile_definitions(llava_rlhf PRIVATE LLAVA_RLHF_CUDA)
endif()
