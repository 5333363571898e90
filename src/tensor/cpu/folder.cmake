# simd/*.c is compiled once per SIMD level, as one object library each; cpu_create takes the best that the processor has, so
# that the program starts on any machine of the architecture.
file(GLOB simd_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/tensor/cpu/simd/*.c)
set(simd_levels generic)
set(simd_options_generic "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND simd_levels avx2 avx512)
  set(simd_options_avx2 -mavx2 -mfma)
  set(simd_options_avx512 -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
  target_compile_definitions(llava_tensor_cpu PRIVATE CPU_HAS_X86_LEVELS)
endif()
# With sanitizers the optimiser takes minutes for what then is slow all the same.
set(simd_optimise -O3)
if(LLAVA_RLHF_SANITIZE)
  set(simd_optimise -O1)
endif()
foreach(level ${simd_levels})
  add_library(llava_tensor_cpu_${level} OBJECT ${simd_sources})
  target_include_directories(llava_tensor_cpu_${level} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(llava_tensor_cpu_${level} PRIVATE SIMD_LEVEL=${level})
  # Products and sums are fused wherever the level can; the optimiser is wanted in debug builds too.
  target_compile_options(llava_tensor_cpu_${level} PRIVATE ${simd_optimise} -ffp-contract=fast -fno-math-errno -fno-trapping-math
                         -fopenmp-simd ${simd_options_${level}})
  target_sources(llava_tensor_cpu PRIVATE $<TARGET_OBJECTS:llava_tensor_cpu_${level}>)
endforeach()
