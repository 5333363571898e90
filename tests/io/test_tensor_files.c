/* Files of PyTorch and of safetensors' library, read number by number. */
#define _GNU_SOURCE
#include "golden_tensors.h"

#include "base/memory.h"
#include "io_test.h"

#include <math.h>

static tensor_files_t *opened(const char *path) {
  tensor_files_t *files = NULL;
  assert_ok(tensor_files_open(path, &files));
  return files;
}

/* ---- safetensors ---- */

static void safetensors_types_are_read(void **state) {
  (void)state;
  tensor_files_t *files = opened(GOLDEN "types.safetensors");
  assert_int_equal(tensor_files_count(files), 13);
  assert_string_equal(tensor_files_path(files), GOLDEN "types.safetensors");
  golden_check(files, "f64", TENSOR_F64, 1, SHAPE(3, 5));
  golden_check(files, "f32", TENSOR_F32, 2, SHAPE(4, 3));
  golden_check(files, "f16", TENSOR_F16, 3, SHAPE(2, 3, 4));
  golden_check(files, "bf16", TENSOR_BF16, 4, SHAPE(7));
  golden_check(files, "scalar", TENSOR_F32, 11, 0, NULL);
  golden_check(files, "empty", TENSOR_F32, 12, SHAPE(0, 4));
  assert_null(tensor_files_find(files, "absent"));
  assert_null(tensor_files_find(files, ""));
  tensor_files_close(files);
}

static void whole_numbers_are_read_as_stored(void **state) {
  (void)state;
  tensor_files_t *files = opened(GOLDEN "types.safetensors");
  const struct {
    const char *name;
    tensor_type_t type;
    int seed;
  } cases[] = {{"i64", TENSOR_I64, 5}, {"i32", TENSOR_I32, 6}, {"i16", TENSOR_I16, 7}, {"i8", TENSOR_I8, 8}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    const tensor_entry_t *entry = golden_find(files, cases[c].name, cases[c].type, SHAPE(3));
    const size_t size = tensor_type_size(entry->type);
    for (int64_t i = 0; i < 3; i++) {
      int64_t expected = golden_whole(cases[c].seed, i), found = expected < 0 ? -1 : 0;
      assert_ok(tensor_files_read(files, entry, i, 1, &found));
      assert_memory_equal(&found, &expected, size);
    }
    float number;
    assert_error_about(tensor_files_read_f32(files, entry, 0, 1, &number), STATUS_DATA, cases[c].name);
  }
  unsigned char bytes[5];
  assert_ok(tensor_files_read(files, golden_find(files, "u8", TENSOR_U8, SHAPE(3)), 0, 3, bytes));
  for (int64_t i = 0; i < 3; i++)
    assert_int_equal(bytes[i], golden_whole(9, i) + 11);
  assert_ok(tensor_files_read(files, golden_find(files, "bool", TENSOR_BOOL, SHAPE(5)), 0, 5, bytes));
  for (int64_t i = 0; i < 5; i++)
    assert_int_equal(bytes[i], golden_whole(10, i) & 1);
  tensor_files_close(files);
}

static void special_halves_are_read(void **state) {
  (void)state;
  tensor_files_t *files = opened(GOLDEN "types.safetensors");
  float data[6];
  assert_ok(tensor_files_read_f32(files, golden_find(files, "special", TENSOR_F16, SHAPE(6)), 0, 6, data));
  assert_true(data[0] == INFINITY && data[1] == -INFINITY && isnan(data[2]));
  assert_true(data[3] == 0x1p-24f && data[4] == -0x1p-14f && data[5] == 65504.0f);
  tensor_files_close(files);
}

static void entries_come_in_order_of_their_places(void **state) {
  (void)state;
  tensor_files_t *files = opened(GOLDEN "types.safetensors");
  for (int64_t i = 1; i < tensor_files_count(files); i++)
    assert_true(tensor_files_at(files, i - 1)->place <= tensor_files_at(files, i)->place);
  for (int64_t i = 0; i < tensor_files_count(files); i++) {
    const tensor_entry_t *entry = tensor_files_at(files, i);
    assert_ptr_equal(tensor_files_find(files, entry->name), entry);
    assert_string_equal(entry->file, GOLDEN "types.safetensors");
    assert_true(entry->contiguous);
  }
  tensor_files_close(files);
}

static void ranges_outside_are_refused(void **state) {
  (void)state;
  float data[4];
  tensor_files_t *files = opened(GOLDEN "types.safetensors");
  const tensor_entry_t *entry = tensor_files_find(files, "f32");
  assert_error(tensor_files_read_f32(files, entry, 10, 3, data), STATUS_INTERNAL);
  assert_error(tensor_files_read_f32(files, entry, -1, 1, data), STATUS_INTERNAL);
  assert_error(tensor_files_read_f32(files, entry, INT64_MAX, 2, data), STATUS_INTERNAL);
  assert_error(tensor_files_read(files, entry, 0, -1, data), STATUS_INTERNAL);
  tensor_files_close(files);
}

/* ---- PyTorch ---- */

static void state_dict_is_read(void **state) {
  (void)state;
  tensor_files_t *files = opened(GOLDEN "model.bin");
  assert_int_equal(tensor_files_count(files), 14);
  assert_string_equal(tensor_files_at(files, 0)->name, "plain.weight");
  assert_string_equal(tensor_files_at(files, 13)->name, "empty");
  golden_check(files, "plain.weight", TENSOR_F32, 2, SHAPE(3, 4));
  golden_check(files, "tied.weight", TENSOR_F32, 1, SHAPE(4, 6));
  golden_check(files, "parameter", TENSOR_BF16, 5, SHAPE(2, 2));
  golden_check(files, "half", TENSOR_F16, 6, SHAPE(5));
  golden_check(files, "double", TENSOR_F64, 7, SHAPE(5));
  golden_check(files, "scalar", TENSOR_F32, 10, 0, NULL);
  golden_check(files, "empty", TENSOR_F32, 11, SHAPE(0, 3));
  golden_find(files, "position_ids", TENSOR_I64, SHAPE(1, 5));
  golden_find(files, "flag", TENSOR_BOOL, SHAPE(3));
  tensor_files_close(files);
}

static void views_are_read_in_order(void **state) {
  (void)state;
  tensor_files_t *files = opened(GOLDEN "model.bin");
  float expected[24];
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 4; j++)
      expected[4 * i + j] = golden_value(1, 6 * j + i);
  const tensor_entry_t *entry = golden_find(files, "transposed.weight", TENSOR_F32, SHAPE(6, 4));
  assert_false(entry->contiguous);
  golden_compare(files, entry, expected);
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 3; j++)
      expected[3 * i + j] = golden_value(1, 6 * (i + 1) + j + 2);
  golden_compare(files, golden_find(files, "middle.weight", TENSOR_F32, SHAPE(2, 3)), expected);
  for (int i = 0; i < 5; i++)
    expected[i] = golden_value(3, 2 * i + 1);
  golden_compare(files, golden_find(files, "every_other", TENSOR_F32, SHAPE(5)), expected);
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++)
      for (int k = 0; k < 3; k++)
        expected[6 * i + 3 * j + k] = golden_value(4, 12 * j + 4 * k + i);
  golden_compare(files, golden_find(files, "permuted", TENSOR_F32, SHAPE(4, 2, 3)), expected);
  for (int i = 0; i < 6; i++)
    expected[i] = golden_value(1, 12 + i);
  entry = golden_find(files, "row", TENSOR_F32, SHAPE(6));
  assert_true(entry->contiguous);
  golden_compare(files, entry, expected);
  float raw[24];
  assert_ok(tensor_files_read(files, tensor_files_find(files, "transposed.weight"), 3, 7, raw));
  for (int i = 0; i < 7; i++)
    assert_true(raw[i] == golden_value(1, 6 * ((i + 3) % 4) + (i + 3) / 4));
  tensor_files_close(files);
}

static void nested_dicts_give_dotted_names(void **state) {
  (void)state;
  tensor_files_t *files = opened(GOLDEN "nested.pt");
  assert_int_equal(tensor_files_count(files), 4);
  golden_check(files, "state_dict.head.weight", TENSOR_F32, 1, SHAPE(1, 4));
  golden_check(files, "optimizer.moments.0", TENSOR_F32, 2, SHAPE(3));
  golden_check(files, "optimizer.moments.1", TENSOR_F32, 3, SHAPE(2));
  golden_find(files, "optimizer.state.0.step", TENSOR_F32, 0, NULL);
  tensor_files_close(files);
}

/* ---- Sets ---- */

static void check_shards(const char *path, const char *opened_path, const char *last_file) {
  tensor_files_t *files = opened(path);
  assert_string_equal(tensor_files_path(files), opened_path);
  assert_int_equal(tensor_files_count(files), 3);
  golden_check(files, "one", TENSOR_F32, 1, SHAPE(2, 3));
  golden_check(files, "two", TENSOR_F32, 2, SHAPE(4));
  golden_check(files, "three", TENSOR_F32, 3, SHAPE(5));
  assert_string_equal(tensor_files_find(files, "three")->file, last_file);
  tensor_files_close(files);
}

static void shards_are_one_set(void **state) {
  (void)state;
  check_shards(GOLDEN "sharded", GOLDEN "sharded/model.safetensors.index.json",
               GOLDEN "sharded/model-00002-of-00002.safetensors");
  check_shards(GOLDEN "sharded/model.safetensors.index.json", GOLDEN "sharded/model.safetensors.index.json",
               GOLDEN "sharded/model-00002-of-00002.safetensors");
  check_shards(GOLDEN "sharded/pytorch_model.bin.index.json", GOLDEN "sharded/pytorch_model.bin.index.json",
               GOLDEN "sharded/pytorch_model-00002-of-00002.bin");
}

static void copy_golden(const char *name, const char *folder, const char *as) {
  char from[FILE_MAX_PATH], to[FILE_MAX_PATH], *bytes;
  size_t n;
  assert_ok(file_join(from, TEST_SOURCE_DIR, "io/golden/tensors", name));
  assert_ok(file_read(from, 1 << 20, &bytes, &n));
  assert_ok(file_write(io_test_path(to, folder, as), bytes, n));
  memory_free(bytes);
}

static void folder_is_searched_as_transformers_does(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], expected[FILE_MAX_PATH];
  /* From the last choice to the first; names say nothing of the content. */
  const char *const names[] = {"adapter_model.bin", "adapter_model.safetensors", "pytorch_model.bin",
                               "model.safetensors"};
  const char *const contents[] = {"nested.pt", "types.safetensors", "written.safetensors", "model.bin"};
  const int64_t counts[] = {4, 13, 3, 14};
  tensor_files_t *files;
  io_test_folder(folder);
  assert_error_about(tensor_files_open(folder, &files), STATUS_INPUT, "model.safetensors");
  assert_null(files);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    copy_golden(contents[i], folder, names[i]);
    files = opened(folder);
    assert_string_equal(tensor_files_path(files), io_test_path(expected, folder, names[i]));
    assert_int_equal(tensor_files_count(files), counts[i]);
    tensor_files_close(files);
  }
  io_test_remove(folder);
}

static void refuse_index(const char *folder, const char *map, const char *about) {
  char path[FILE_MAX_PATH], text[512];
  tensor_files_t *files;
  snprintf(text, sizeof text, "{\"metadata\": {}, \"weight_map\": %s}", map);
  io_test_write(io_test_path(path, folder, "x.index.json"), text);
  assert_error_about(tensor_files_open(path, &files), STATUS_DATA, about);
}

static void wrong_indices_are_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  io_test_folder(folder);
  copy_golden("sharded/model-00001-of-00002.safetensors", folder, "a.safetensors");
  copy_golden("sharded/model-00002-of-00002.safetensors", folder, "b.safetensors");
  copy_golden("sharded/model-00002-of-00002.safetensors", folder, "c.safetensors");
  refuse_index(folder, "{\"one\": \"../a.safetensors\"}", "'../a.safetensors'");
  refuse_index(folder, "{\"one\": \"/etc/passwd\"}", "'/etc/passwd'");
  refuse_index(folder, "{\"one\": \"x/../a.safetensors\"}", "'x/../a.safetensors'");
  refuse_index(folder, "{\"one\": \"..\"}", "'..'");
  refuse_index(folder, "{\"one\": \"\"}", "''");
  refuse_index(folder, "{\"one\": 7}", "an integer");
  refuse_index(folder, "[]", "weight_map");
  refuse_index(folder, "{\"one\": \"d.safetensors\"}", "d.safetensors");
  refuse_index(folder, "{\"one\": \"a.safetensors\", \"four\": \"a.safetensors\"}", "'four'");
  refuse_index(folder, "{\"one\": \"a.safetensors\", \"two\": \"b.safetensors\"}", "'two'");
  refuse_index(folder, "{\"three\": \"b.safetensors\", \"x\": \"c.safetensors\"}", "'three'");
  refuse_index(folder, "{\"one\": \"a.safetensors\", \"one\": \"b.safetensors\"}", "'one' is there twice");
  refuse_index(folder, "{\"one\": \"x.index.json\"}", "x.index.json");
  io_test_remove(folder);
}

static void other_files_are_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  tensor_files_t *files;
  assert_error_about(tensor_files_open(GOLDEN "old_format.pt", &files), STATUS_DATA, "before 1.6");
  assert_error_about(tensor_files_open(GOLDEN "protocol_4.pt", &files), STATUS_DATA, "protocol 4");
  assert_error_about(tensor_files_open(GOLDEN "no_dict.pt", &files), STATUS_DATA, "expected a dict");
  assert_error_about(tensor_files_open(GOLDEN "compressed.pt", &files), STATUS_DATA, "compressed");
  assert_error_about(tensor_files_open(GOLDEN "evil.pt", &files), STATUS_DATA, "system");
  assert_error_about(tensor_files_open(GOLDEN "absent.pt", &files), STATUS_DATA, "absent.pt");
  assert_error_about(tensor_files_open("/dev/null", &files), STATUS_DATA, "not a regular file");
  io_test_folder(folder);
  io_test_path(path, folder, "model.bin");
  io_test_write(path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
  assert_error_about(tensor_files_open(path, &files), STATUS_DATA, "git lfs pull");
  io_test_write(path, "");
  assert_error(tensor_files_open(path, &files), STATUS_DATA);
  io_test_write(path, "<html><head><title>Sign in</title>");
  assert_error_about(tensor_files_open(path, &files), STATUS_DATA, "neither");
  io_test_remove(folder);
}

static void file_cut_while_open_is_noticed(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  float data[15];
  io_test_folder(folder);
  copy_golden("written.safetensors", folder, "w.safetensors");
  tensor_files_t *files = opened(io_test_path(path, folder, "w.safetensors"));
  io_test_cut(path, 250);
  assert_ok(tensor_files_read_f32(files, tensor_files_find(files, "a.weight"), 0, 4, data));
  assert_error_about(tensor_files_read_f32(files, tensor_files_find(files, "a.weight"), 0, 15, data),
                     STATUS_DATA, "ends at byte 250");
  tensor_files_close(files);
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(safetensors_types_are_read),
      cmocka_unit_test(whole_numbers_are_read_as_stored),
      cmocka_unit_test(special_halves_are_read),
      cmocka_unit_test(entries_come_in_order_of_their_places),
      cmocka_unit_test(ranges_outside_are_refused),
      cmocka_unit_test(state_dict_is_read),
      cmocka_unit_test(views_are_read_in_order),
      cmocka_unit_test(nested_dicts_give_dotted_names),
      cmocka_unit_test(shards_are_one_set),
      cmocka_unit_test(folder_is_searched_as_transformers_does),
      cmocka_unit_test(wrong_indices_are_refused),
      cmocka_unit_test(other_files_are_refused),
      cmocka_unit_test(file_cut_while_open_is_noticed),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
