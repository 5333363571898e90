# The suite of operations, used by the tests of every device.
add_library(llava_op_suite STATIC op_suite.c op_suite_linear.c op_suite_nf4.c op_suite_half.c op_suite_attention.c op_suite_decode.c op_suite_norm.c
            op_suite_rows.c op_suite_vocab.c op_suite_vocab_many.c op_suite_walk.c op_suite_loss.c op_pair.c)
target_link_libraries(llava_op_suite PUBLIC llava_tensor_plain PkgConfig::CMOCKA)
target_include_directories(llava_op_suite PUBLIC ${PROJECT_SOURCE_DIR}/tests)

add_llava_test(test_plain_f32 SOURCES test_plain_f32.c LINKS op_suite LABELS unit)
add_llava_test(test_plain_f64 SOURCES test_plain_f64.c gradient_check.c LINKS tensor_plain LABELS unit)
add_llava_test(test_plain_linear SOURCES test_plain_linear.c gradient_check.c LINKS tensor_plain LABELS unit)
add_llava_test(test_plain_definition SOURCES test_plain_definition.c gradient_check.c LINKS tensor_plain LABELS unit)
add_llava_test(test_plain_sampling SOURCES test_plain_sampling.c LINKS tensor_plain LABELS unit)
add_llava_test(test_plain_checking SOURCES test_plain_checking.c LINKS tensor_plain LABELS unit)
add_llava_test(test_workspace SOURCES test_workspace.c LINKS tensor_plain LABELS unit)
add_llava_test(test_plain_collectives SOURCES test_plain_collectives.c LINKS tensor_plain LABELS mpi RANKS 1 2 3 4)
add_llava_test(test_tensor_golden SOURCES test_golden.c golden_file.c LINKS tensor_plain LABELS unit)

# Run by test_device_waits under mpirun.
add_executable(hang_device hang_device.c)
target_link_libraries(hang_device PRIVATE llava_tensor_plain)
add_llava_test(test_device_waits SOURCES test_device_waits.c LINKS tensor_cpu tensor_plain LABELS mpi TIMEOUT 120)
target_compile_definitions(test_device_waits PRIVATE MPIRUN="${MPIRUN}" HANG_DEVICE="$<TARGET_FILE:hang_device>")
add_dependencies(test_device_waits hang_device)
