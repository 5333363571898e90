#define _GNU_SOURCE
#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/formats/dataset_layout.h"
#include "io/h5.h"
#include "mpi_test.h"

#include "io_test.h"

#include <xxhash.h>

enum { SAMPLES = 57, IMAGES = 11, FACTS = 23 };

/* What differs in the dataset that is written. */
typedef enum {
  VARIATION_NONE,
  VARIATION_IMAGE,
  VARIATION_TURN,
  VARIATION_FACT,
  VARIATION_BONUS,
  VARIATION_NAME,
  VARIATION_HELD_OUT,
  VARIATION_SIZE,
  VARIATION_COUNT
} variation_t;
static variation_t variation;

static int64_t image_bytes(int64_t i) {
  return i == 4 ? 700 : 100 + i * 37;
}

static void fill_image(int64_t i, uint8_t *bytes) {
  for (int64_t k = 0; k < image_bytes(i); k++)
    bytes[k] = (uint8_t)(i * 31 + k);
  if (variation == VARIATION_IMAGE && i == 7) bytes[20] ^= 1;
}

/* Sample I in all its parts; texts of all lengths, empty ones too. TEXTS has room for 8 of 64 bytes. */
static void make_sample(int64_t i, char texts[8][64], turn_t *turns, dataset_sample_t *sample) {
  *sample = (dataset_sample_t){.image = i % 3 == 0 ? -1 : i % IMAGES,
                               .caption_type = (int32_t)(1 + i % 7),
                               .length_bonus = 0.5f * (float)i,
                               .fact = i % FACTS,
                               .fact_count = (int32_t)(i % FACTS + 2 <= FACTS ? i % 3 : 0),
                               .held_out = i % 5 == 0};
  if (sample->image == 4) sample->image = 5;
  snprintf(texts[0], 64, "id-%lld-\xe2\x82\xac", (long long)i);
  sample->id = text_view(texts[0]);
  int32_t count = (int32_t)(1 + i % 4);
  for (int32_t t = 0; t < count; t++) {
    texts[1 + t][0] = '\0';
    if (t != 1) snprintf(texts[1 + t], 64, "turn %d of %lld", t, (long long)i);
    turns[t] = (turn_t){t % 2 == 0 ? TURN_HUMAN : TURN_GPT, text_view(texts[1 + t])};
  }
  if (variation == VARIATION_TURN && i == 9) texts[1][0] = 'T';
  if (variation == VARIATION_BONUS && i == 9) sample->length_bonus += 1;
  if (variation == VARIATION_HELD_OUT && i == 9) sample->held_out = !sample->held_out;
  sample->conversation = (conversation_t){.turns = turns, .count = count};
  sample->paired = i % 2 == 0;
  if (!sample->paired) return;
  snprintf(texts[6], 64, "first %lld", (long long)i);
  snprintf(texts[7], 64, "second");
  sample->outputs[0] = text_view(texts[6]);
  sample->outputs[1] = text_view(texts[7]);
  sample->preference = (int32_t)(i % 3);
}

static text_view_t fact_text(int64_t i, char text[64]) {
  snprintf(text, 64, "%.*s fact %lld", (int)(i % 9), "a caption", (long long)i);
  if (variation == VARIATION_FACT && i == 5) text[0] = 'A';
  return text_view(text);
}

static dataset_counts_t count_all(void) {
  dataset_counts_t counts = {.samples = SAMPLES, .facts = FACTS};
  char texts[8][64];
  turn_t turns[4];
  dataset_sample_t sample;
  for (int64_t i = 0; i < SAMPLES; i++) {
    make_sample(i, texts, turns, &sample);
    counts.texts += 1 + sample.conversation.count + (sample.paired ? 2 : 0);
    counts.text_bytes += (int64_t)(sample.id.n + sample.outputs[0].n + sample.outputs[1].n);
    for (int32_t t = 0; t < sample.conversation.count; t++)
      counts.text_bytes += (int64_t)turns[t].text.n;
  }
  for (int64_t i = 0; i < FACTS; i++)
    counts.fact_bytes += (int64_t)fact_text(i, texts[0]).n;
  return counts;
}

static void write_texts(dataset_writer_t *writer) {
  char texts[8][64];
  turn_t turns[4];
  dataset_sample_t sample;
  for (int64_t i = 0; i < IMAGES; i++) {
    snprintf(texts[0], 64, "folder/%03lld.jpg", (long long)i);
    if (variation == VARIATION_NAME && i == 3) texts[0][0] = 'F';
    assert_ok(dataset_writer_name(writer, text_view(texts[0])));
  }
  for (int64_t i = 0; i < FACTS; i++)
    assert_ok(dataset_writer_fact(writer, fact_text(i, texts[0])));
  for (int64_t i = 0; i < SAMPLES; i++) {
    make_sample(i, texts, turns, &sample);
    assert_ok(dataset_writer_sample(writer, &sample));
  }
}

static void write_images(dataset_writer_t *writer) {
  comm_t *world = mpi_test_world();
  int64_t sizes[IMAGES];
  uint8_t bytes[1024];
  for (int64_t i = 0; i < IMAGES; i++)
    sizes[i] = image_bytes(i);
  assert_ok(dataset_writer_images(writer, sizes, IMAGES));
  for (int64_t i = comm_rank(world); i < IMAGES; i += comm_size(world)) {
    fill_image(i, bytes);
    assert_ok(dataset_writer_image(writer, i, i == 4 ? NULL : bytes, (int32_t)(10 + i),
                                   variation == VARIATION_SIZE && i == 2 ? 21 : 20));
  }
}

static void write_dataset(const char *path) {
  dataset_writer_t *writer;
  const dataset_counts_t counts = count_all();
  assert_ok(dataset_writer_open(mpi_test_world(), path, &writer));
  write_images(writer);
  assert_ok(dataset_writer_texts(writer, &counts, IMAGES * (int64_t)strlen("folder/000.jpg")));
  if (comm_rank(mpi_test_world()) == 0) write_texts(writer);
  assert_ok(dataset_writer_close(writer, "{\"files\": []}", 3));
}

static void assert_view(text_view_t found, text_view_t expected) {
  assert_int_equal(found.n, expected.n);
  if (found.n > 0) assert_memory_equal(found.bytes, expected.bytes, found.n);
  assert_int_equal(found.bytes[found.n], '\0');
}

static void check_sample(const dataset_t *dataset, int64_t i) {
  char texts[8][64];
  turn_t turns[4];
  dataset_sample_t expected, found;
  make_sample(i, texts, turns, &expected);
  assert_ok(dataset_sample_read(dataset, i, &found));
  assert_view(found.id, expected.id);
  assert_int_equal(found.conversation.count, expected.conversation.count);
  for (int32_t t = 0; t < found.conversation.count; t++) {
    assert_int_equal(found.conversation.turns[t].role, turns[t].role);
    assert_view(found.conversation.turns[t].text, turns[t].text);
  }
  assert_int_equal(found.paired, expected.paired);
  for (int k = 0; k < 2 && found.paired; k++)
    assert_view(found.outputs[k], expected.outputs[k]);
  assert_int_equal(found.preference, expected.preference);
  assert_int_equal(found.image, expected.image);
  assert_int_equal(dataset_sample_image(dataset, i), expected.image);
  assert_int_equal(found.caption_type, expected.caption_type);
  assert_true(found.length_bonus == expected.length_bonus);
  assert_int_equal(found.held_out, expected.held_out);
  assert_int_equal(found.fact_count, expected.fact_count);
  for (int32_t f = 0; f < found.fact_count; f++)
    assert_view(found.facts[f], fact_text(expected.fact + f, texts[0]));
  dataset_sample_free(&found);
}

static void check_image(const dataset_t *dataset, int64_t i) {
  uint8_t bytes[1024], expected[1024];
  char *name, expected_name[64];
  assert_int_equal(dataset_image_size(dataset, i), image_bytes(i));
  fill_image(i, expected);
  if (i == 4) { /* unusable: never written */
    assert_error(dataset_image_read(dataset, i, bytes), STATUS_DATA);
  } else {
    assert_ok(dataset_image_read(dataset, i, bytes));
    assert_memory_equal(bytes, expected, (size_t)image_bytes(i));
  }
  assert_ok(dataset_image_name(dataset, i, &name));
  snprintf(expected_name, sizeof expected_name, "folder/%03lld.jpg", (long long)i);
  assert_string_equal(name, expected_name);
  memory_free(name);
}

static void check_rows(const dataset_t *dataset, dataset_part_t part) {
  dataset_rows_t rows;
  int64_t at = 0;
  assert_ok(dataset_rows(NULL, dataset, part, &rows));
  for (int64_t i = 0; i < SAMPLES; i++)
    if (part == DATASET_ALL || (i % 5 == 0) == (part == DATASET_HELD_OUT)) {
      assert_true(at < rows.count);
      assert_int_equal(rows.rows[at++], i);
    }
  assert_int_equal(rows.count, at);
  dataset_rows_free(&rows);
}

static void check_all(const dataset_t *dataset) {
  const dataset_info_t info = dataset_info(dataset);
  assert_int_equal(info.samples, SAMPLES);
  assert_int_equal(info.images, IMAGES);
  assert_int_equal(info.facts, FACTS);
  assert_int_equal(info.skipped, 3);
  assert_int_equal(info.held_out, (SAMPLES + 4) / 5);
  for (int64_t i = 0; i < SAMPLES; i++)
    check_sample(dataset, i);
  for (int64_t i = 0; i < IMAGES; i++)
    check_image(dataset, i);
  check_rows(dataset, DATASET_TRAINING);
  check_rows(dataset, DATASET_HELD_OUT);
  check_rows(dataset, DATASET_ALL);
}

static void what_is_written_is_read(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  dataset_t *dataset;
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  write_dataset(path);
  assert_ok(dataset_open(mpi_test_world(), path, &dataset));
  check_all(dataset);
  const uint64_t identity = dataset_info(dataset).identity;
  dataset_close(dataset);
  assert_ok(dataset_open(NULL, path, &dataset));
  check_all(dataset);
  assert_true(dataset_info(dataset).identity == identity);
  dataset_sample_t sample;
  assert_error(dataset_sample_read(dataset, SAMPLES, &sample), STATUS_INTERNAL);
  assert_error(dataset_sample_read(dataset, -1, &sample), STATUS_INTERNAL);
  dataset_close(dataset);
  io_test_remove(folder);
}

/* The same contents have the same identity whoever wrote them. */
static void empty_parts_are_fine(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  dataset_writer_t *writer;
  dataset_t *dataset;
  const turn_t turn = {TURN_HUMAN, text_view("hello")};
  const dataset_sample_t sample = {.id = text_view("x"),
                                   .conversation = {.turns = &turn, .count = 1},
                                   .image = -1,
                                   .caption_type = 1,
                                   .length_bonus = 1};
  const dataset_counts_t counts = {.samples = 1, .texts = 2, .text_bytes = 6};
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  assert_ok(dataset_writer_open(mpi_test_world(), path, &writer));
  assert_ok(dataset_writer_images(writer, NULL, 0));
  assert_ok(dataset_writer_texts(writer, &counts, 0));
  if (comm_rank(mpi_test_world()) == 0) assert_ok(dataset_writer_sample(writer, &sample));
  assert_ok(dataset_writer_close(writer, "{}", 0));
  assert_ok(dataset_open(mpi_test_world(), path, &dataset));
  dataset_sample_t found;
  assert_ok(dataset_sample_read(dataset, 0, &found));
  assert_view(found.conversation.turns[0].text, turn.text);
  assert_int_equal(found.fact_count, 0);
  dataset_sample_free(&found);
  dataset_close(dataset);
  io_test_remove(folder);
}

/* Announced and written must agree; nothing is left behind, and what was there stays. */
static void half_a_dataset_is_no_dataset(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], partial[FILE_MAX_PATH];
  dataset_writer_t *writer;
  dataset_counts_t counts = count_all();
  counts.samples += 1;
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  io_test_write(path, "the one before");
  assert_ok(dataset_writer_open(mpi_test_world(), path, &writer));
  write_images(writer);
  assert_ok(dataset_writer_texts(writer, &counts, IMAGES * (int64_t)strlen("folder/000.jpg")));
  if (comm_rank(mpi_test_world()) == 0) write_texts(writer);
  assert_error(dataset_writer_close(writer, "{}", 0), STATUS_INTERNAL);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_int_equal(io_test_size(path), strlen("the one before"));
  assert_ok(file_partial(partial, path));
  assert_int_equal(io_test_size(partial), -1);
  assert_error(dataset_writer_open(mpi_test_world(), "/nowhere/at/all.h5", &writer), STATUS_DATA);
  io_test_remove(folder);
}

static void identity_renew(h5_file_t *file) {
  uint64_t hashes[PART_COUNT] = {0};
  for (part_t part = 0; part < PART_COUNT; part++)
    if (part_is_serial(part))
      assert_ok(h5_attr_read_u64(file, part_layout(part)->object, "xxh3", &hashes[part], 1));
  const uint64_t identity = dataset_identity(hashes);
  assert_ok(h5_attr_write_u64(file, "/", "identity", &identity, 1));
}

/* As a program with a mistake would write it: the hashes are right. */
static void overwrite_i64(const char *path, const char *object, int64_t row, int64_t value) {
  if (comm_rank(mpi_test_world()) == 0) {
    h5_file_t *file;
    h5_type_t type;
    int dims;
    int64_t shape[H5_MAX_DIMS], *rows;
    assert_ok(h5_open(path, H5_EDIT, NULL, &file));
    assert_ok(h5_write_rows(file, object, H5TYPE_I64, row, 1, &value));
    assert_ok(h5_dataset_info(file, object, &type, &dims, shape));
    assert_ok(memory_alloc(&rows, ARENA_IO, (size_t)shape[0], sizeof *rows));
    assert_ok(h5_read_rows(file, object, H5TYPE_I64, 0, shape[0], rows));
    uint64_t hash = XXH3_64bits(rows, (size_t)shape[0] * sizeof *rows);
    assert_ok(h5_attr_write_u64(file, object, "xxh3", &hash, 1));
    memory_free(rows);
    identity_renew(file);
    assert_ok(h5_close(file));
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

static void broken_files_are_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  dataset_t *dataset;
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  assert_error(dataset_open(mpi_test_world(), path, &dataset), STATUS_DATA);
  assert_null(dataset);
  io_test_write(path, "");
  assert_error(dataset_open(mpi_test_world(), path, &dataset), STATUS_DATA);
  io_test_write(path, "this is not HDF5 at all");
  assert_error(dataset_open(mpi_test_world(), path, &dataset), STATUS_DATA);
  static const struct {
    const char *object;
    int64_t row, value;
  } edits[] = {
      {"/text/offsets", 7, 1},          {"/text/offsets", 0, 3},      {"/image/offsets", IMAGES, 1 << 20},
      {"/facts/offsets", 2, INT64_MAX}, {"/sample/image", 3, IMAGES}, {"/sample/image", 3, -2},
      {"/image/name", 3, -1},           {"/image/name", 3, 1 << 20}};
  for (size_t e = 0; e < sizeof edits / sizeof *edits; e++) {
    write_dataset(path);
    overwrite_i64(path, edits[e].object, edits[e].row, edits[e].value);
    assert_error(dataset_open(mpi_test_world(), path, &dataset), STATUS_DATA);
  }
  write_dataset(path);
  io_test_cut(path, io_test_size(path) / 2);
  assert_error(dataset_open(mpi_test_world(), path, &dataset), STATUS_DATA);
  io_test_remove(folder);
}

/* A dataset's identity is that of all its contents, whoever wrote them: a caption, an image's byte, a bonus,
 * a fact or a name that differs makes another one. */
static void other_contents_have_other_identities(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  uint64_t identities[VARIATION_COUNT + 1];
  dataset_t *dataset;
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  for (int v = 0; v <= VARIATION_COUNT; v++) {
    variation = v % VARIATION_COUNT;
    write_dataset(path);
    assert_ok(dataset_open(mpi_test_world(), path, &dataset));
    identities[v] = dataset_info(dataset).identity;
    dataset_close(dataset);
    assert_ok(comm_barrier(mpi_test_world()));
  }
  assert_true(identities[VARIATION_NONE] == identities[VARIATION_COUNT]);
  for (int v = 0; v < VARIATION_COUNT; v++)
    for (int w = 0; w < v; w++)
      assert_true(identities[v] != identities[w]);
  io_test_remove(folder);
}

/* One flipped byte, wherever it is, is noticed: in an image when that is read, elsewhere at once. */
static void damaged_files_are_refused(void **state) {
  (void)state;
  static const char *const parts[] = {
      "/text/bytes",   "/text/offsets", "/text/kind",           "/facts/bytes",     "/sample/preference",
      "/sample/turns", "/sample/image", "/sample/length_bonus", "/sample/held_out", "/sample/caption_type",
      "/image/xxh3",   "/image/width",  "/image/height"};
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  uint8_t bytes[1024];
  dataset_t *dataset;
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  for (size_t p = 0; p <= sizeof parts / sizeof *parts; p++) {
    bool image = p == sizeof parts / sizeof *parts;
    write_dataset(path);
    off_t place = io_test_place(path, image ? "/image/bytes" : parts[p]);
    assert_ok(comm_barrier(mpi_test_world()));
    io_test_flip(path, place + 40);
    if (!image) {
      assert_error(dataset_open(mpi_test_world(), path, &dataset), STATUS_DATA);
      continue;
    }
    assert_ok(dataset_open(mpi_test_world(), path, &dataset));
    assert_error(dataset_image_read(dataset, 0, bytes), STATUS_DATA);
    assert_ok(dataset_image_read(dataset, 1, bytes));
    dataset_close(dataset);
  }
  io_test_remove(folder);
}

/* What opening does not look at is checked when a sample is read. */
static void bad_rows_are_refused(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  static const struct {
    const char *object;
    int64_t value;
  } edits[] = {{"/sample/id", -1},    {"/sample/id", 1 << 20},         {"/sample/first_turn", 0},
               {"/sample/output", 1}, {"/sample/fact", INT64_MAX - 1}, {"/sample/fact", -5},
               {"/sample/fact", -1},  {"/sample/id", INT64_MAX}};
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  for (size_t e = 0; e < sizeof edits / sizeof *edits; e++) {
    dataset_t *dataset;
    dataset_sample_t sample;
    write_dataset(path);
    overwrite_i64(path, edits[e].object, 2, edits[e].value);
    if (edits[e].value == INT64_MAX) overwrite_i64(path, "/sample/first_turn", 2, INT64_MIN);
    assert_ok(dataset_open(mpi_test_world(), path, &dataset));
    assert_error(dataset_sample_read(dataset, 2, &sample), STATUS_DATA);
    assert_null(sample.storage);
    dataset_close(dataset);
  }
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(empty_parts_are_fine),
      cmocka_unit_test(half_a_dataset_is_no_dataset),
      cmocka_unit_test(broken_files_are_refused),
      cmocka_unit_test(other_contents_have_other_identities),
      cmocka_unit_test(damaged_files_are_refused),
      cmocka_unit_test(bad_rows_are_refused),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
