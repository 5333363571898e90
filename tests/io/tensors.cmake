add_llava_test(test_tensor_files SOURCES test_tensor_files.c LINKS io_tensors LABELS io mpi RANKS 1)
add_llava_test(test_safetensors_refused SOURCES test_safetensors_refused.c LINKS io_tensors LABELS io mpi RANKS 1)
add_llava_test(test_torch_refused SOURCES test_torch_refused.c LINKS io_tensors LABELS io mpi RANKS 1)
target_link_libraries(test_torch_refused PRIVATE ZLIB::ZLIB)
