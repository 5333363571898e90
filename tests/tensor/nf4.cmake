add_llava_test(test_nf4 SOURCES test_nf4.c LINKS tensor LABELS unit TIMEOUT 60)
add_llava_test(test_weight_nf4 SOURCES test_weight_nf4.c LINKS tensor_cpu tensor_plain LABELS unit)
