# The program's headers are C, whose initializers leave out what is zero.
target_compile_options(llava_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers>
                       # Kernels keep the line of their source, for the profilers.
                       $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
if(LLAVA_HAS_NCCL)
  target_compile_definitions(llava_cuda PRIVATE LLAVA_HAS_NCCL)
endif()
# Kernels for products of warpgroups are sm_90a's alone.
if(CMAKE_CUDA_ARCHITECTURES MATCHES "90a")
  target_compile_definitions(llava_cuda PRIVATE LLAVA_HAS_SM90A)
endif()
