add_llava_test(test_partition SOURCES test_partition.c LINKS tensor LABELS unit TIMEOUT 60)
add_llava_test(test_packed SOURCES test_packed.c LINKS tensor LABELS unit TIMEOUT 60)
