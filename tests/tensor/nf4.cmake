add_llava_test(test_nf4 SOURCES test_nf4.c LINKS tensor LABELS unit TIMEOUT 60)
