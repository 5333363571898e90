# The program's headers are C, whose initializers leave out what is zero.
target_compile_options(llava_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers>)
# Device code is a small part of what it would be uncompressed; with debugging symbols, kernels keep the line of their source.
target_compile_options(llava_cuda PRIVATE $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<CONFIG:RelWithDebInfo,Debug>>:-lineinfo>)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
  target_compile_options(llava_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>)
endif()
if(LLAVA_HAS_NCCL)
  target_compile_definitions(llava_cuda PRIVATE LLAVA_HAS_NCCL)
endif()
# cuDNN's frontend only describes what others compute: minutes of optimising its headers would gain nothing.
if(LLAVA_HAS_CUDNN)
  target_compile_definitions(llava_cuda PRIVATE LLAVA_HAS_CUDNN)
  target_include_directories(llava_cuda SYSTEM PRIVATE ${CUDNN_INCLUDE} ${CUDNN_FRONTEND_INCLUDE})
  set_source_files_properties(${PROJECT_SOURCE_DIR}/cuda/cudnn.cc PROPERTIES COMPILE_OPTIONS "-O0")
endif()
# Kernels for products of warpgroups are sm_90a's alone.
if(CMAKE_CUDA_ARCHITECTURES MATCHES "90a")
  target_compile_definitions(llava_cuda PRIVATE LLAVA_HAS_SM90A)
endif()
