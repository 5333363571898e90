# The cpu device: the suite at each SIMD level, and what it promises beyond the suite.
# Four levels on one thread and two: three minutes with sanitizers on idle cores.
add_llava_test(test_cpu_ops SOURCES test_cpu_ops.c LINKS op_suite tensor_cpu LABELS unit TIMEOUT 600)
add_llava_test(test_cpu_bits SOURCES test_cpu_bits.c LINKS tensor_cpu LABELS unit)
add_llava_test(test_cpu_levels SOURCES test_cpu_levels.c LINKS tensor_cpu tensor_plain LABELS unit)
add_llava_test(test_peaks SOURCES test_peaks.c LINKS tensor_cpu tensor_plain LABELS unit)
add_llava_test(test_cpu_few_rows SOURCES test_cpu_few_rows.c LINKS tensor_cpu LABELS unit)
add_llava_test(test_cpu_pool SOURCES test_cpu_pool.c LINKS tensor_cpu LABELS unit)
add_llava_test(test_prepared_sequences SOURCES test_prepared_sequences.c LINKS tensor_cpu tensor_plain LABELS unit)
