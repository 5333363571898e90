add_llava_test(test_tensor_files SOURCES test_tensor_files.c LINKS io_tensors LABELS io mpi RANKS 1)
