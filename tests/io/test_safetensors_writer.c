/* Safetensors files written by all ranks: what stands in them, and what is left after an error. */
#define _GNU_SOURCE
#include "golden_tensors.h"

#include "base/memory.h"
#include "io/json.h"
#include "io/tensors/safetensors_writer.h"
#include "io_test.h"

#include <dirent.h>

static const tensor_spec_t three[] = {{"a.weight", TENSOR_F32, 2, {3, 5}},
                                      {"b.weight", TENSOR_BF16, 2, {2, 3}},
                                      {"c.bias", TENSOR_F16, 1, {7}}};

static int64_t spec_elements(const tensor_spec_t *spec) {
  int64_t elements, bytes;
  assert_true(tensor_count_elements(spec->type, spec->dims, spec->shape, &elements, &bytes));
  return elements;
}

/* Writes the golden values of tensor I, as float, in pieces of three elements that the ranks take in turn,
 * from the last to the first. */
static status_t write_values(safetensors_writer_t *writer, const tensor_spec_t *spec, int64_t tensor,
                             int seed) {
  comm_t *world = mpi_test_world();
  const int64_t n = spec_elements(spec), pieces = (n + 2) / 3;
  for (int64_t piece = pieces - 1; piece >= 0; piece--) {
    float data[3];
    int64_t first = 3 * piece, count = n - first < 3 ? n - first : 3;
    if ((piece + tensor) % comm_size(world) != comm_rank(world)) continue;
    for (int64_t i = 0; i < count; i++)
      data[i] = golden_value(seed, first + i);
    TRY(safetensors_write_f32(writer, tensor, first, count, data));
  }
  return STATUS_OK;
}

static void write_all(const char *folder, const tensor_spec_t *specs, int count, int64_t shard_bytes) {
  safetensors_writer_t *writer;
  assert_ok(safetensors_create(mpi_test_world(), folder, "model", specs, count, shard_bytes, &writer));
  for (int i = 0; i < count; i++)
    assert_ok(write_values(writer, &specs[i], i, i + 1));
  assert_ok(safetensors_finish(writer, STATUS_OK));
}

/* Files in FOLDER, and how many of them have names that end in .partial. */
static int count_files(const char *folder, int *partial) {
  int count = 0;
  DIR *directory = opendir(folder);
  assert_non_null(directory);
  *partial = 0;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    count += entry->d_name[0] != '.';
    *partial += strstr(entry->d_name, ".partial") != NULL;
  }
  closedir(directory);
  assert_ok(comm_barrier(mpi_test_world()));
  return count;
}

static void assert_files(const char *folder, int expected) {
  int partial;
  assert_int_equal(count_files(folder, &partial), expected);
  assert_int_equal(partial, 0);
}

static void file_is_what_the_library_writes(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *mine, *golden;
  size_t mine_bytes, golden_bytes;
  io_test_folder(folder);
  write_all(folder, three, 3, 0);
  assert_files(folder, 1);
  assert_ok(file_read(io_test_path(path, folder, "model.safetensors"), 1 << 20, &mine, &mine_bytes));
  assert_ok(file_read(GOLDEN "written.safetensors", 1 << 20, &golden, &golden_bytes));
  assert_int_equal(mine_bytes, golden_bytes);
  assert_memory_equal(mine, golden, golden_bytes);
  memory_free(mine);
  memory_free(golden);
  io_test_remove(folder);
}

enum { MANY = 20 };

/* Tensors of all real types and a few whole ones, some empty. */
static void many_specs(tensor_spec_t specs[MANY], char names[MANY][16]) {
  static const tensor_type_t types[] = {TENSOR_BF16, TENSOR_F32, TENSOR_F16};
  for (int i = 0; i < MANY; i++) {
    snprintf(names[i], 16, "layer.%d", MANY - i);
    specs[i] = (tensor_spec_t){names[i], types[i % 3], 2, {i % 7, i % 5 + 1}};
  }
}

static void check_many(const char *folder, const tensor_spec_t *specs) {
  tensor_files_t *files;
  assert_ok(tensor_files_open(folder, &files));
  assert_int_equal(tensor_files_count(files), MANY);
  for (int i = 0; i < MANY; i++) {
    golden_check(files, specs[i].name, specs[i].type, i + 1, 2, specs[i].shape);
    const tensor_entry_t *entry = tensor_files_find(files, specs[i].name);
    assert_int_equal(entry->place % (int64_t)tensor_type_size(entry->type), 0);
  }
  tensor_files_close(files);
}

/* The shards that the index in FOLDER names hold at most MOST bytes of tensors each; their number. */
static int check_index(const char *folder, int64_t most) {
  char path[FILE_MAX_PATH], first[64] = "";
  json_document_t index;
  const json_t *map, *metadata;
  int64_t total, sum = 0;
  int shards = 0, all = 0;
  assert_ok(json_parse_file(io_test_path(path, folder, "model.safetensors.index.json"), 1 << 20, &index));
  assert_ok(json_object(index.root, "weight_map", path, &map));
  assert_ok(json_object(index.root, "metadata", path, &metadata));
  assert_ok(json_int(metadata, "total_size", path, &total));
  assert_int_equal(map->count, MANY);
  for (const json_t *member = map->u.first; member != NULL; member = member->next) {
    if (strcmp(member->u.string, first) == 0) continue;
    snprintf(first, sizeof first, "%s", member->u.string);
    tensor_files_t *files;
    int64_t bytes = 0;
    assert_ok(tensor_files_open(io_test_path(path, folder, first), &files));
    for (int64_t i = 0; i < tensor_files_count(files); i++)
      bytes +=
          tensor_files_at(files, i)->elements * (int64_t)tensor_type_size(tensor_files_at(files, i)->type);
    assert_true(bytes <= most || tensor_files_count(files) == 1);
    tensor_files_close(files);
    sum += bytes;
    assert_int_equal(sscanf(first, "model-%*d-of-%d.safetensors", &all), 1);
    shards++;
  }
  assert_int_equal(sum, total);
  assert_int_equal(all, shards);
  json_free(&index);
  return shards;
}

static void shards_hold_at_most_their_size(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], names[MANY][16];
  tensor_spec_t specs[MANY];
  many_specs(specs, names);
  io_test_folder(folder);
  write_all(folder, specs, MANY, 100);
  check_many(folder, specs);
  int shards = check_index(folder, 100);
  assert_true(shards > 3);
  assert_files(folder, shards + 1);
  /* Over it, with other shards. */
  write_all(folder, specs, MANY, 1);
  check_many(folder, specs);
  check_index(folder, 1);
  io_test_remove(folder);
}

static void whole_numbers_are_written_as_given(void **state) {
  (void)state;
  const tensor_spec_t specs[] = {{"ids", TENSOR_I64, 1, {3}}, {"scalar", TENSOR_U8, 0, {0}}};
  const int64_t ids[] = {-1, INT64_MAX, 7};
  int64_t found[3];
  char folder[FILE_MAX_PATH];
  safetensors_writer_t *writer;
  tensor_files_t *files;
  float data[3] = {0};
  io_test_folder(folder);
  assert_ok(safetensors_create(mpi_test_world(), folder, "model", specs, 2, 0, &writer));
  assert_error(safetensors_write_f32(writer, 0, 0, 3, data), STATUS_INTERNAL);
  assert_error(safetensors_write(writer, 0, 2, 2, ids), STATUS_INTERNAL);
  assert_error(safetensors_write(writer, 2, 0, 1, ids), STATUS_INTERNAL);
  if (comm_rank(mpi_test_world()) == comm_size(mpi_test_world()) - 1) {
    assert_ok(safetensors_write(writer, 0, 0, 3, ids));
    assert_ok(safetensors_write(writer, 1, 0, 1, "\x2a"));
  }
  assert_ok(safetensors_finish(writer, STATUS_OK));
  assert_ok(tensor_files_open(folder, &files));
  assert_ok(tensor_files_read(files, tensor_files_find(files, "ids"), 0, 3, found));
  assert_memory_equal(found, ids, sizeof ids);
  assert_ok(tensor_files_read(files, tensor_files_find(files, "scalar"), 0, 1, found));
  assert_int_equal(*(unsigned char *)found, 42);
  tensor_files_close(files);
  io_test_remove(folder);
}

/* ---- Errors ---- */

static void failure_of_one_leaves_what_was_there(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  safetensors_writer_t *writer;
  tensor_files_t *files;
  io_test_folder(folder);
  write_all(folder, three, 3, 0);
  assert_ok(safetensors_create(world, folder, "model", three, 3, 0, &writer));
  assert_ok(write_values(writer, &three[0], 0, 9));
  status_code_t status = STATUS_OK;
  if (comm_rank(world) == comm_size(world) - 1)
    status = error_set(STATUS_NUMERIC, "a value of mine is infinite");
  assert_error_about(safetensors_finish(writer, status), STATUS_NUMERIC, "a value of mine is infinite");
  assert_files(folder, 1);
  assert_ok(tensor_files_open(folder, &files));
  golden_check(files, "a.weight", TENSOR_F32, 1, SHAPE(3, 5));
  tensor_files_close(files);
  io_test_remove(folder);
}

static void missing_elements_are_an_error(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  safetensors_writer_t *writer;
  io_test_folder(folder);
  assert_ok(safetensors_create(mpi_test_world(), folder, "model", three, 3, 40, &writer));
  assert_ok(write_values(writer, &three[0], 0, 1));
  assert_ok(write_values(writer, &three[2], 2, 1));
  assert_error_about(safetensors_finish(writer, STATUS_OK), STATUS_INTERNAL, "'b.weight'");
  assert_files(folder, 0);
  io_test_remove(folder);
}

static void lists_that_are_none_are_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  safetensors_writer_t *writer;
  tensor_spec_t specs[3];
  io_test_folder(folder);
  memcpy(specs, three, sizeof specs);
  specs[2].name = "a.weight";
  assert_error_about(safetensors_create(world, folder, "model", specs, 3, 0, &writer), STATUS_INTERNAL,
                     "twice");
  assert_null(writer);
  specs[2].name = "__metadata__";
  assert_error_about(safetensors_create(world, folder, "model", specs, 3, 0, &writer), STATUS_INTERNAL,
                     "__metadata__");
  specs[2] = three[2];
  specs[2].shape[0] = -7;
  assert_error(safetensors_create(world, folder, "model", specs, 3, 0, &writer), STATUS_INTERNAL);
  specs[2].shape[0] = 7 + comm_rank(world);
  if (comm_size(world) > 1)
    assert_error(safetensors_create(world, folder, "model", specs, 3, 0, &writer), STATUS_INTERNAL);
  assert_files(folder, 0);
  io_test_remove(folder);
}

static void other_form_is_in_the_way(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  safetensors_writer_t *writer;
  io_test_folder(folder);
  write_all(folder, three, 3, 0);
  assert_error_about(safetensors_create(world, folder, "model", three, 3, 40, &writer), STATUS_DATA,
                     "/model.safetensors: is in the way");
  assert_files(folder, 1);
  io_test_remove(folder);
  io_test_folder(folder);
  write_all(folder, three, 3, 40);
  assert_error_about(safetensors_create(world, folder, "model", three, 3, 0, &writer), STATUS_DATA,
                     "index.json: is in the way");
  io_test_remove(folder);
}

static void folder_that_cannot_be_made_is_an_error_of_all(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], below[FILE_MAX_PATH];
  safetensors_writer_t *writer;
  io_test_folder(folder);
  io_test_write(io_test_path(path, folder, "file"), "x");
  io_test_path(below, path, "folder");
  assert_error(safetensors_create(mpi_test_world(), below, "model", three, 3, 0, &writer), STATUS_DATA);
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(file_is_what_the_library_writes),
      cmocka_unit_test(shards_hold_at_most_their_size),
      cmocka_unit_test(whole_numbers_are_written_as_given),
      cmocka_unit_test(failure_of_one_leaves_what_was_there),
      cmocka_unit_test(missing_elements_are_an_error),
      cmocka_unit_test(lists_that_are_none_are_refused),
      cmocka_unit_test(other_form_is_in_the_way),
      cmocka_unit_test(folder_that_cannot_be_made_is_an_error_of_all),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
