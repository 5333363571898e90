/* Rollout and score files: written from samples scattered over the ranks, read back in order, whole and in
 * ranges. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "base/memory.h"
#include "io/formats/rollout_file.h"
#include "io/formats/scores_file.h"
#include "io_test.h"

#include <hdf5.h>
#include <stdlib.h>

enum { TOTAL = 13, FACTS = 3, MOST = 4096 };

/* Sample I of the step: lengths that include none, and contents that name their place. */
static int64_t query_length(int64_t i) {
  return 1 + i % 3;
}
static int64_t response_length(int64_t i) {
  return (i * 5) % 7;
}
static float token_value(int64_t i, int k, int64_t place) {
  return (float)(i * 1000 + k * 100 + place);
}

/* Appends sample I to ROLLOUT, whose arrays have room. */
static void sample_append(rollout_file_t *rollout, int64_t i) {
  int64_t n = rollout->samples++;
  int64_t q = rollout->query_offsets[n], r = rollout->response_offsets[n];
  rollout->index[n] = i;
  for (int64_t k = 0; k < query_length(i); ++k)
    rollout->query_tokens[q + k] = (int32_t)(i * 10 + k);
  for (int64_t k = 0; k < response_length(i); ++k) {
    rollout->response_tokens[r + k] = (int32_t)(i * 20 + k);
    for (int f = 0; f < ROLLOUT_TOKEN_COUNT; ++f)
      rollout->token[f][r + k] = token_value(i, f, k);
  }
  rollout->query_offsets[n + 1] = q + query_length(i);
  rollout->response_offsets[n + 1] = r + response_length(i);
  rollout->id[n] = 100 + i;
  rollout->image[n] = i % 2 ? i : -1;
  rollout->answer_type[n] = (int32_t)(i % 7 + 1);
  rollout->raw_reward[n] = (float)i / 4;
  rollout->reward[n] = (float)i / 4 - 8;
  rollout->length_bonus[n] = (float)-i;
  rollout->length_multiplier[n] = (float)(i + 1);
  rollout->correct[n] = 0.5f;
  rollout->stopped[n] = (uint8_t)(i % 2);
  for (int64_t f = 0; f < FACTS; ++f)
    rollout->fact_order[n * FACTS + f] = (int32_t)((i + f) % FACTS);
  int64_t t = rollout->query_text_offsets[n], u = rollout->response_text_offsets[n];
  rollout->query_text_offsets[n + 1] = t + sprintf(rollout->query_text + t, "question %lld", (long long)i);
  rollout->response_text_offsets[n + 1] =
      u + (i == 4 ? 0 : sprintf(rollout->response_text + u, "%lld", (long long)i));
}

/* Room for all samples, in one block per array, all from calloc. */
static void rollout_make(rollout_file_t *rollout) {
  *rollout = (rollout_file_t){.fact_width = FACTS};
  void **arrays[] = {(void **)&rollout->index,           (void **)&rollout->query_offsets,
                     (void **)&rollout->query_tokens,    (void **)&rollout->response_offsets,
                     (void **)&rollout->response_tokens, (void **)&rollout->id,
                     (void **)&rollout->image,           (void **)&rollout->answer_type,
                     (void **)&rollout->raw_reward,      (void **)&rollout->reward,
                     (void **)&rollout->length_bonus,    (void **)&rollout->length_multiplier,
                     (void **)&rollout->correct,         (void **)&rollout->stopped,
                     (void **)&rollout->fact_order,      (void **)&rollout->query_text_offsets,
                     (void **)&rollout->query_text,      (void **)&rollout->response_text_offsets,
                     (void **)&rollout->response_text};
  for (size_t k = 0; k < sizeof arrays / sizeof *arrays; ++k)
    assert_ok(memory_alloc(arrays[k], ARENA_ROLLOUT, MOST, 1));
  for (int k = 0; k < ROLLOUT_TOKEN_COUNT; ++k)
    assert_ok(memory_alloc(&rollout->token[k], ARENA_ROLLOUT, MOST, 1));
}

/* The samples that RANK of SIZE holds: dealt backwards, so that no rank's are neighbours; the last of several
 * ranks has none. */
static void rollout_deal(rollout_file_t *rollout, int rank, int size) {
  int holders = size > 1 ? size - 1 : 1;
  for (int64_t i = TOTAL - 1; i >= 0; --i) {
    if ((i * 7) % holders == rank) sample_append(rollout, i);
  }
}

#define assert_same(field, count)                                                                            \
  assert_memory_equal(read.field, expected.field, (size_t)(count) * sizeof *read.field)

/* Reads COUNT samples from BEGIN and compares with samples made in order. */
static void range_compare(const char *path, int64_t begin, int64_t count) {
  rollout_file_t read, expected;
  rollout_info_t info;
  assert_ok(rollout_file_read(path, begin, count, &info, &read));
  assert_int_equal(info.step, 42);
  assert_string_equal(info.policy_hash, "abc");
  assert_string_equal(info.settings, "&job /\n");
  rollout_make(&expected);
  for (int64_t i = begin; i < begin + count; ++i)
    sample_append(&expected, i);
  assert_int_equal(read.samples, count);
  assert_int_equal(read.fact_width, FACTS);
  assert_same(index, count);
  assert_same(query_offsets, count + 1);
  assert_same(query_tokens, expected.query_offsets[count]);
  assert_same(response_offsets, count + 1);
  if (count > 0) {
    assert_same(response_tokens, expected.response_offsets[count]);
    for (int k = 0; k < ROLLOUT_TOKEN_COUNT; ++k)
      assert_same(token[k], expected.response_offsets[count]);
    assert_same(id, count);
    assert_same(image, count);
    assert_same(answer_type, count);
    assert_same(raw_reward, count);
    assert_same(reward, count);
    assert_same(length_bonus, count);
    assert_same(length_multiplier, count);
    assert_same(correct, count);
    assert_same(stopped, count);
    assert_same(fact_order, count * FACTS);
    assert_same(query_text, expected.query_text_offsets[count]);
    assert_same(response_text, expected.response_text_offsets[count]);
  }
  assert_same(query_text_offsets, count + 1);
  assert_same(response_text_offsets, count + 1);
  rollout_file_free(&expected);
  rollout_file_free(&read);
  rollout_info_free(&info);
}

/* All samples, dealt over the ranks: PATH is step INFO->step in FOLDER, MINE this rank's. */
static void write_dealt(const char *folder, const rollout_info_t *info, char path[FILE_MAX_PATH],
                        rollout_file_t *mine) {
  comm_t *world = mpi_test_world();
  assert_ok(rollout_file_path(path, folder, info->step));
  rollout_make(mine);
  rollout_deal(mine, comm_rank(world), comm_size(world));
  assert_ok(rollout_file_write(world, path, info, mine));
}

static void rollouts_return_in_order(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], hash[] = "abc", settings[] = "&job /\n";
  comm_t *world = mpi_test_world();
  rollout_info_t info = {42, hash, settings};
  rollout_file_t mine, read;
  io_test_folder(folder);
  write_dealt(folder, &info, path, &mine);
  range_compare(path, 0, TOTAL);
  range_compare(path, 3, 5);
  range_compare(path, TOTAL - 1, 1);
  range_compare(path, 4, 0);
  assert_ok(rollout_file_read(path, 10, -1, NULL, &read));
  assert_int_equal(read.samples, TOTAL - 10);
  rollout_file_free(&read);
  assert_error(rollout_file_read(path, 10, 4, NULL, &read), STATUS_DATA);
  assert_error(rollout_file_read(path, TOTAL + 1, -1, NULL, &read), STATUS_DATA);

  /* An index that occurs twice is an error on all ranks, and the file stays as it was. */
  if (mine.samples > 0) mine.index[0] = mine.index[mine.samples - 1] == 0 ? 1 : 0;
  assert_error(rollout_file_write(world, path, &info, &mine), STATUS_INTERNAL);
  range_compare(path, 0, TOTAL);
  rollout_file_free(&mine);
  io_test_remove(folder);
}

/* One row instead of a row per sample, and as many elements as it has there cannot be for all of them;
 * offsets whose difference is no number. */
static void sizes_that_overflow_are_refused(void **state) {
  const hsize_t shape[] = {1, INT64_C(1) << 60};
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], hash[] = "abc", settings[] = "&job /\n";
  comm_t *world = mpi_test_world();
  rollout_info_t info = {1, hash, settings};
  rollout_file_t mine, read;
  io_test_folder(folder);
  write_dealt(folder, &info, path, &mine);
  rollout_file_free(&mine);
  if (comm_rank(world) == 0) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate_simple(2, shape, NULL);
    assert_true(H5Ldelete(file, "/sample/fact_order", H5P_DEFAULT) >= 0);
    hid_t column =
        H5Dcreate2(file, "/sample/fact_order", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(column >= 0 && H5Dclose(column) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
  }
  assert_ok(comm_barrier(world));
  assert_error_about(rollout_file_read(path, 0, -1, NULL, &read), STATUS_DATA, "1 rows for 13 samples");
  assert_ok(comm_barrier(world));
  if (comm_rank(world) == 0) {
    int64_t offsets[TOTAL + 1] = {INT64_MIN / 2, INT64_MAX};
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT),
          column = H5Dopen2(file, "/query/offsets", H5P_DEFAULT);
    assert_true(H5Dwrite(column, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, offsets) >= 0);
    assert_true(H5Dclose(column) >= 0 && H5Fclose(file) >= 0);
  }
  assert_ok(comm_barrier(world));
  assert_error_about(rollout_file_read(path, 0, -1, NULL, &read), STATUS_DATA,
                     "negative or fall at sample 0");
  io_test_remove(folder);
}

static void no_samples_at_all(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], hash[] = "abc", settings[] = "&job /\n";
  rollout_info_t info = {42, hash, settings};
  rollout_file_t none;
  io_test_folder(folder);
  io_test_path(path, folder, "none.h5");
  rollout_make(&none);
  none.fact_width = 0;
  assert_ok(rollout_file_write(mpi_test_world(), path, &info, &none));
  rollout_file_free(&none);
  assert_ok(rollout_file_read(path, 0, -1, NULL, &none));
  assert_int_equal(none.samples, 0);
  rollout_file_free(&none);
  io_test_remove(folder);
}

/* ---- Scores ---- */

/* A rank's samples of a round of scores. */
typedef struct {
  int64_t index[TOTAL], id[TOTAL], offsets[TOTAL + 1], name_offsets[TOTAL + 1];
  int32_t tokens[TOTAL * 8];
  float logprob[TOTAL * 8], reward[TOTAL];
  char names[TOTAL * 8];
  scores_file_t file;
} scores_t;

static int name_of(int64_t i, char name[8]) {
  return snprintf(name, 8, "s%lld", (long long)(i * i));
}

/* Samples BEGIN .. END - 1 of the file, as a round: those of RANK of SIZE, backwards. */
static void scores_make(int64_t begin, int64_t end, int rank, int size, bool with_reward, scores_t *scores) {
  *scores = (scores_t){0};
  scores_file_t *file = &scores->file;
  for (int64_t i = end - 1; i >= begin; --i) {
    if (i % size != rank) continue;
    int64_t n = file->samples++, at = scores->offsets[n], length = response_length(i);
    scores->index[n] = i - begin;
    scores->id[n] = i + 7;
    scores->reward[n] = (float)i;
    scores->offsets[n + 1] = at + length;
    for (int64_t k = 0; k < length; ++k) {
      scores->tokens[at + k] = (int32_t)(i + k);
      scores->logprob[at + k] = (float)-(i + k);
    }
    int bytes = name_of(i, scores->names + scores->name_offsets[n]);
    scores->name_offsets[n + 1] = scores->name_offsets[n] + bytes;
  }
  *file = (scores_file_t){file->samples,  scores->index,
                          scores->id,     scores->name_offsets,
                          scores->names,  scores->offsets,
                          scores->tokens, scores->logprob,
                          with_reward,    with_reward ? scores->reward : NULL};
}

/* Writes all samples in rounds of ROUND. */
static void scores_write(const char *path, int64_t round, bool with_reward) {
  comm_t *world = mpi_test_world();
  char model[] = "model.h5", dataset[] = "data.h5";
  const scores_info_t info = {model, dataset, 0xfeedfacecafe1234u};
  scores_writer_t *writer;
  scores_t *mine = malloc(sizeof *mine);
  assert_ok(scores_writer_open(world, path, &info, with_reward, &writer));
  for (int64_t begin = 0; begin < TOTAL; begin += round) {
    int64_t end = begin + round < TOTAL ? begin + round : TOTAL;
    scores_make(begin, end, comm_rank(world), comm_size(world), with_reward, mine);
    assert_ok(scores_writer_append(writer, &mine->file));
  }
  assert_false(file_exists(path));
  assert_ok(comm_barrier(world));
  assert_ok(scores_writer_close(writer));
  free(mine);
}

static void scores_check(const char *path, int64_t begin, int64_t count, bool with_reward) {
  scores_file_t read;
  char name[8];
  assert_ok(scores_file_read(path, begin, count, &read));
  assert_int_equal(read.samples, count);
  assert_true(read.has_reward == with_reward);
  for (int64_t i = 0; i < count; ++i) {
    assert_int_equal(read.id[i], begin + i + 7);
    assert_int_equal(read.index[i], begin + i);
    assert_int_equal(read.name_offsets[i + 1] - read.name_offsets[i], name_of(begin + i, name));
    assert_memory_equal(read.names + read.name_offsets[i], name, strlen(name));
    assert_int_equal(read.offsets[i + 1] - read.offsets[i], response_length(begin + i));
    for (int64_t k = read.offsets[i]; k < read.offsets[i + 1]; ++k) {
      assert_int_equal(read.tokens[k], begin + i + k - read.offsets[i]);
      assert_true(read.logprob[k] == (float)-read.tokens[k]);
    }
    if (with_reward) assert_true(read.reward[i] == (float)(begin + i));
  }
  scores_file_free(&read);
}

/* However many rounds there are; the last has one sample, so none on most ranks. */
static void scores_return(void **state) {
  static const int64_t rounds[] = {TOTAL, TOTAL / 2};
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  scores_info_t info;
  rollout_file_t rollout;
  io_test_folder(folder);
  io_test_path(path, folder, "scores.h5");
  for (int r = 0; r < 2; ++r) {
    scores_write(path, rounds[r], r == 1);
    scores_check(path, 0, TOTAL, r == 1);
    scores_check(path, 2, 6, r == 1);
    assert_ok(scores_info_read(path, &info));
    assert_string_equal(info.dataset, "data.h5");
    assert_true(info.dataset_identity == 0xfeedfacecafe1234u);
    scores_info_free(&info);
    assert_error(rollout_file_read(path, 0, -1, NULL, &rollout), STATUS_DATA);
    assert_ok(comm_barrier(mpi_test_world()));
    if (comm_rank(mpi_test_world()) == 0) assert_int_equal(remove(path), 0);
    assert_ok(comm_barrier(mpi_test_world()));
  }
  io_test_remove(folder);
}

static void broken_scores_leave_no_file(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], partial[FILE_MAX_PATH], text[] = "x";
  const scores_info_t info = {text, text, 1};
  comm_t *world = mpi_test_world();
  scores_writer_t *writer;
  scores_t *mine = malloc(sizeof *mine);
  io_test_folder(folder);
  io_test_path(path, folder, "scores.h5");
  assert_ok(file_partial(partial, path));
  assert_ok(scores_writer_open(world, path, &info, true, &writer));
  scores_make(0, 5, comm_rank(world), comm_size(world), true, mine);
  for (int64_t i = 0; i < mine->file.samples; ++i)
    mine->index[i] = 0;
  assert_error(scores_writer_append(writer, &mine->file), STATUS_INTERNAL);
  assert_true(file_exists(partial));
  assert_ok(comm_barrier(world));
  scores_writer_abandon(writer);
  assert_ok(comm_barrier(world));
  assert_false(file_exists(path) || file_exists(partial));
  free(mine);
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rollouts_return_in_order),    cmocka_unit_test(sizes_that_overflow_are_refused),
      cmocka_unit_test(no_samples_at_all),           cmocka_unit_test(scores_return),
      cmocka_unit_test(broken_scores_leave_no_file),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
