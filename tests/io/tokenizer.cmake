add_llava_test(test_tokenizer_file SOURCES test_tokenizer_file.c LINKS io_formats io base LABELS io)
