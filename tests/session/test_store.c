/* Models in files: they stream from and to the weights' place; some hold more than is used: a published tower
 * has layers behind the one whose states are taken, and a last norm. */
#define _GNU_SOURCE
#include "base/memory.h"
#include "model/tiny.h"
#include "mpi_test.h"
#include "session/store.h"
#include "tensor/blank.h"
#include "tensor/plain/plain.h"

#include <stdlib.h>
#include <string.h>

#define TOWER "/weights/model.vision_tower.vision_tower.vision_model."

enum { HIDDEN = 16 };

typedef struct {
  grid_t grid;
  device_t *device;
  base_t whole; /* with all layers of the tower */
  char path[64];
} store_fixture_t;

static void fixture_open(store_fixture_t *f, int32_t feature_layer) {
  comm_t *world = mpi_test_world();
  model_config_t config = tiny_config(2, false, PROJECTOR_LINEAR);
  assert_ok(grid_create(world, comm_size(world) == 2 ? 2 : 1, 1, &f->grid));
  assert_ok(plain_create(PLAIN_DOUBLE, true, &f->device));
  config.vision_feature_layer = -1;
  assert_ok(base_create(f->device, &f->grid, &config, NULL, &f->whole));
  assert_ok(params_initialise(&f->whole.params, 5));
  f->whole.config.vision_feature_layer = feature_layer; /* what the file says */
  snprintf(f->path, sizeof f->path, "/tmp/llava_rlhf_store_XXXXXX");
  int descriptor = comm_rank(world) == 0 ? mkstemp(f->path) : -1;
  if (descriptor >= 0) close(descriptor);
  assert_ok(comm_broadcast(world, f->path, sizeof f->path, COMM_BYTE, 0));
}

static void fixture_close(store_fixture_t *f) {
  assert_ok(comm_barrier(mpi_test_world()));
  if (comm_rank(mpi_test_world()) == 0) remove(f->path);
  base_free(&f->whole);
  device_free(f->device);
  grid_free(&f->grid);
}

/* What a published configuration said. */
static const char said[] = "{\"eos_token_id\":[2,7]}";

/* Writes the whole model, and a vector of each name in EXTRA (ended by NULL). */
static void write_with(store_fixture_t *f, const char *const *extra) {
  static const float values[HIDDEN] = {1};
  weights_item_t items[4];
  store_contents_t contents = {.base = &f->whole,
                               .weights = true,
                               .tokenizer_bytes = "-",
                               .tokenizer_size = 1,
                               .published = said,
                               .extra = items};
  for (; extra[contents.extra_count]; contents.extra_count++)
    items[contents.extra_count] = (weights_item_t){.path = extra[contents.extra_count],
                                                   .ndim = 1,
                                                   .shape = {HIDDEN},
                                                   .dtype = DTYPE_F32,
                                                   .rows = HIDDEN,
                                                   .cols = 1,
                                                   .row_count = HIDDEN,
                                                   .col_count = 1,
                                                   .data = values,
                                                   .mine = comm_rank(mpi_test_world()) == 0};
  assert_ok(store_write(mpi_test_world(), f->path, &contents));
}

static double *values_of(const params_t *params, int32_t id) {
  double *values;
  assert_ok(memory_alloc(&values, ARENA_OTHER, (size_t)params->items[id].elements, sizeof *values));
  assert_ok(param_read(params, id, DTYPE_F64, values));
  return values;
}

static int32_t find(const params_t *params, const char *name) {
  for (int32_t i = 0; i < params->count; i++)
    if (strcmp(params->items[i].name, name) == 0) return i;
  fail_msg("no weight %s", name);
  return -1;
}

/* Every weight of LOADED has the value that the whole model has under that name, in single precision. */
static void compare(const base_t *loaded, const base_t *whole) {
  for (int32_t i = 0; i < loaded->params.count; i++) {
    const param_t *param = &loaded->params.items[i];
    double *found = values_of(&loaded->params, i);
    double *expected = values_of(&whole->params, find(&whole->params, param->name));
    for (int64_t e = 0; e < param->elements; e++)
      assert_true(found[e] == (double)(float)expected[e]);
    memory_free(found);
    memory_free(expected);
  }
}

/* What was in the weights' place before, padding included. */
static void fill(params_t *params) {
  for (int32_t i = 0; i < params->count; i++)
    for (int64_t e = 0; e < params->items[i].elements; e++)
      assert_ok(param_write_elements(params, i, e, 1, DTYPE_F64, &(double){7.0}));
}

/* Loads the file; *LAYERS of the tower are run. */
static status_t load(store_fixture_t *f, int32_t *layers) {
  store_info_t info;
  base_t base;
  TRY(store_inspect(mpi_test_world(), f->path, NULL, &info));
  assert_string_equal(info.published, said);
  assert_ok(base_create(f->device, &f->grid, &info.config, NULL, &base));
  fill(&base.params);
  *layers = config_tower_layers(&info.config);
  status_code_t status = store_load_base(mpi_test_world(), &info, &base);
  if (status == STATUS_OK) compare(&base, &f->whole);
  base_free(&base);
  store_info_free(&info);
  return status;
}

static const char *const published[] = {TOWER "post_layernorm.weight", TOWER "post_layernorm.bias",
                                        TOWER "embeddings.position_ids", NULL};

static void unused_parts_of_a_tower_are_left(void **state) {
  static const struct {
    int32_t feature_layer, layers;
  } cases[] = {{-1, 3}, {-2, 2}, {-4, 0}, {0, 0}, {1, 1}, {3, 3}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    store_fixture_t f;
    int32_t layers;
    fixture_open(&f, cases[i].feature_layer);
    write_with(&f, published);
    assert_ok(load(&f, &layers));
    assert_int_equal(layers, cases[i].layers);
    fixture_close(&f);
  }
}

static void what_no_model_has_is_refused(void **state) {
  static const char *const strangers[] = {
      TOWER "encoder.layers.3.mlp.fc1.bias",      /* behind the last layer */
      TOWER "encoder.layers.2.mlp.fc3.bias",      /* in an unused layer, but no part of one */
      TOWER "encoder.layers.2x.mlp.fc1.bias",     /* a number and more */
      TOWER "post_layernorm.scale",               /**/
      "/weights/post_layernorm.weight",           /* not of the tower */
      "/weights/model.layers.0.mlp.up_proj.bias", /* of the decoder */
  };
  (void)state;
  for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
    store_fixture_t f;
    int32_t layers;
    fixture_open(&f, -2);
    write_with(&f, (const char *const[]){strangers[i], published[0], NULL});
    assert_error(load(&f, &layers), STATUS_DATA);
    fixture_close(&f);
  }
}

static void a_feature_layer_lies_in_the_tower(void **state) {
  model_config_t config = tiny_config(2, false, PROJECTOR_LINEAR);
  (void)state;
  for (config.vision_feature_layer = -7; config.vision_feature_layer <= 7; config.vision_feature_layer++) {
    bool inside = config.vision_feature_layer >= -4 && config.vision_feature_layer <= 3;
    if (inside)
      assert_ok(config_check(&config));
    else
      assert_error(config_check(&config), STATUS_INPUT);
  }
}

/* ---- Memory ---- */

/* A head of two matrices, split over rows and columns, of about MILLIONS of weights in all, and a bias. */
static void head_open(device_t *device, const grid_t *grid, int64_t millions, head_t *head) {
  enum { COLS = 4096 };
  int64_t rows = millions * 1000000 / COLS / 24 * 12;
  const param_spec_t specs[] = {
      {.name = "rows.weight", .split = SPLIT_VOCAB, .ndim = 2, .shape = {rows + 1, COLS}},
      {.name = "columns.weight", .split = SPLIT_COLUMNS, .ndim = 2, .shape = {rows, COLS}},
      {.name = "bias", .complete = COMPLETE_EQUAL, .ndim = 1, .shape = {COLS}}};
  *head = (head_t){0};
  params_create(device, grid, "head", &head->params);
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
    assert_ok(params_add(&head->params, &specs[i], &(int32_t){0}));
  assert_ok(params_allocate(&head->params));
}

/* Bytes that files take at most besides what there was BEFORE, since the peaks were reset. */
static void expect_at_most(size_t before, int64_t most) {
  enum { NAMES = 1 << 16 /* and hashes */ };
  int64_t taken = (int64_t)(memory_usage(ARENA_IO).peak - before);
  if (taken > most + NAMES) fail_msg("%lld bytes, at most %lld", (long long)taken, (long long)most);
  memory_reset_peaks();
}

/* No rank holds a second copy of its weights, which with what files take besides would be more than they may:
 * not where they are saved or named, nor where they are loaded. */
static void files_stream_into_place(void **state) {
  enum { MILLIONS = 40 };
  store_fixture_t f;
  device_t *plain, *blank;
  head_t head;
  uint64_t identity;
  comm_t *world = mpi_test_world();
  (void)state;
  fixture_open(&f, -1);
  assert_ok(plain_create(PLAIN_FLOAT, true, &plain));
  assert_ok(blank_create(plain, NULL, &blank));
  head_open(blank, &f.grid, MILLIONS, &head);
  const store_contents_t contents = {
      .base_path = "elsewhere.h5", .head_names = {"value"}, .heads = {&head}, .head_count = 1};
  /* One rank may give all of a round; each stores its share of it, in whole blocks. */
  int64_t round = weights_round_bytes(comm_size(world));
  int64_t given = round < WEIGHTS_GIVEN_BYTES ? round : WEIGHTS_GIVEN_BYTES;
  int64_t piece = WEIGHTS_PIECE_ELEMENTS * (int64_t)sizeof(float);
  int64_t store = round / comm_size(world) + WEIGHTS_BLOCK_BYTES; /* of a round, and of the one before */
  int64_t writing = given + 2 * store + piece;
  size_t before = memory_usage(ARENA_IO).current;
  memory_reset_peaks();
  assert_ok(store_write(world, f.path, &contents));
  expect_at_most(before, writing);
  assert_ok(store_params_identity(world, "/heads/value/", &head.params, &identity));
  expect_at_most(before, writing);
  assert_ok(store_load_params(world, f.path, "/heads/value/", &head.params));
  expect_at_most(before, weights_reading_bytes(f.grid.node_count));
  params_free(&head.params);
  device_free(blank);
  device_free(plain);
  fixture_close(&f);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unused_parts_of_a_tower_are_left),
      cmocka_unit_test(what_no_model_has_is_refused),
      cmocka_unit_test(a_feature_layer_lies_in_the_tower),
      cmocka_unit_test(files_stream_into_place),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
