#define _GNU_SOURCE
/* A dataset of a million samples: what a rank keeps of it for training (the same for supervised tasks and for
 * PPO's prompts: metadata, rows, order), beyond what its node has once. */
#include "base/random.h"
#include "data/order.h"
#include "io/formats/dataset.h"
#include "io/io_test.h"

enum { SAMPLES = 1000000, HELD_OUT_EVERY = 100, TRAINING = SAMPLES - SAMPLES / HELD_OUT_EVERY, BATCH = 1000 };
static const char question[] = "?";

/* One image, which every other sample shows. */
static void make_sample(int64_t i, char id[24], turn_t *turn, dataset_sample_t *out) {
  snprintf(id, 24, "%lld", (long long)i);
  *turn = (turn_t){.role = TURN_HUMAN, .text = text_view(question)};
  *out = (dataset_sample_t){.id = text_view(id),
                            .conversation = {.turns = turn, .count = 1},
                            .image = i % 2 == 0 ? 0 : -1,
                            .caption_type = 1,
                            .length_bonus = 1.0f,
                            .held_out = i % HELD_OUT_EVERY == 0};
}

static void write_samples(dataset_writer_t *writer) {
  assert_ok(dataset_writer_name(writer, text_view("a.jpg")));
  for (int64_t i = 0; i < SAMPLES; i++) {
    char id[24];
    turn_t turn;
    dataset_sample_t sample;
    make_sample(i, id, &turn, &sample);
    assert_ok(dataset_writer_sample(writer, &sample));
  }
}

static void write_dataset(const char *path) {
  comm_t *world = mpi_test_world();
  dataset_writer_t *writer;
  dataset_counts_t counts = {.samples = SAMPLES, .texts = 2 * SAMPLES, .text_bytes = SAMPLES};
  const int64_t size = 3;
  for (int64_t i = 0; i < SAMPLES; i++)
    counts.text_bytes += snprintf(NULL, 0, "%lld", (long long)i);
  assert_ok(dataset_writer_open(world, path, &writer));
  assert_ok(dataset_writer_images(writer, &size, 1));
  if (comm_rank(world) == 0) assert_ok(dataset_writer_image(writer, 0, (const uint8_t *)"jpg", 1, 1));
  assert_ok(dataset_writer_texts(writer, &counts, (int64_t)strlen("a.jpg")));
  if (comm_rank(world) == 0) write_samples(writer);
  assert_ok(dataset_writer_close(writer, "{\"files\": []}", 0));
}

/* The rows at the last batch of one epoch and the first of the next are those of a permutation that this rank
 * draws for itself. */
static void check_order(order_t *order, int64_t epoch) {
  int64_t *permutation, rows[BATCH], position = (epoch + 1) * TRAINING - BATCH / 2;
  assert_ok(memory_alloc(&permutation, ARENA_OTHER, TRAINING, sizeof *permutation));
  assert_ok(order_rows(order, position, BATCH, rows));
  for (int64_t i = 0; i < BATCH; i++) {
    if (i % (BATCH / 2) == 0)
      random_permutation(5, RANDOM_ORDER, (uint64_t)(epoch + (i > 0)), TRAINING, permutation);
    int64_t sample = permutation[(position + i) % TRAINING];
    assert_int_equal(rows[i], sample + sample / (HELD_OUT_EVERY - 1) + 1); /* the first of 100 is held out */
  }
  memory_free(permutation);
}

static void a_rank_keeps_little_of_a_million_samples(void **state) {
  enum { MOST = 1 << 20, NODE_BYTES = 9 + 8 + 3 * 8 }; /* metadata, rows, the order's */
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH];
  comm_t *world = mpi_test_world();
  dataset_t *dataset;
  dataset_rows_t rows;
  order_t order;
  int64_t batch[BATCH];
  io_test_folder(folder);
  io_test_path(path, folder, "data.h5");
  write_dataset(path);
  memory_reset_peaks();
  size_t before = memory_peak();
  assert_ok(dataset_open(world, path, &dataset));
  assert_ok(dataset_rows(world, dataset, DATASET_TRAINING, &rows));
  assert_int_equal(rows.count, TRAINING);
  assert_ok(order_create(world, 5, true, rows.rows, rows.count, &order));
  bool writes = node_memory_writes(order.memory);
  for (int64_t epoch = 0; epoch < 3; epoch++)
    assert_ok(order_rows(&order, epoch * TRAINING, BATCH, batch));
  size_t grown = memory_peak() - before, most = MOST + (writes ? (size_t)SAMPLES * NODE_BYTES : 0);
  if (grown > most)
    fail_msg("a million samples take %zu bytes, of a rank that %s; at most %zu are expected", grown,
             writes ? "keeps them for its node" : "shares them", most);
  int32_t writers = writes;
  comm_t *node;
  assert_ok(comm_split_node(world, "node", &node));
  assert_ok(comm_allreduce(node, &writers, 1, COMM_I32, COMM_SUM));
  assert_int_equal(writers, 1);
  comm_free(node);
  check_order(&order, 2);
  check_order(&order, 0);
  assert_int_equal(dataset_sample_image(dataset, 123456), 0);
  assert_int_equal(dataset_sample_image(dataset, 123457), -1);
  order_free(&order);
  dataset_rows_free(&rows);
  dataset_close(dataset);
  io_test_remove(folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_rank_keeps_little_of_a_million_samples),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
