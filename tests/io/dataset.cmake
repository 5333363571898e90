add_llava_test(test_jpeg SOURCES test_jpeg.c LINKS io LABELS unit)
add_llava_test(test_json SOURCES test_json.c LINKS io LABELS unit)
add_llava_test(test_json_strict SOURCES test_json_strict.c LINKS io LABELS unit)
add_llava_test(test_dataset SOURCES test_dataset.c LINKS io LABELS io mpi RANKS 1 2 3 4)
