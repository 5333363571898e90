/* Tasks world and annotate: what their settings ask for is in the files. */
#define _GNU_SOURCE
#include "session/prepare_task.h"
#include "shapes/shapes_tasks.h"

#include "base/memory.h"
#include "io/formats/dataset.h"
#include "io/io_test.h"
#include "io/jpeg.h"
#include "io/json.h"
#include "rollout/task_fixture.h"
#include "shapes/scene_file.h"

#include <string.h>

/* ---- world ---- */

static const char world_input[] =
    "&job task='world' run_dir='@/%s' seed=%d /\n"
    "&world seed=5 image_size=32 objects_min=2 objects_max=3 turns=2 vocab=400 pretrain_images=3 "
    "sft_images=4 "
    "pair_images=5 policy_init_images=6 ppo_images=7 ppo_held_out=2 eval_images=8 datasets=%s /\n";
enum { SCENES = 29, HELD_OUT = 2 }; /* policy_init takes 4 of its images from the pairs */

/* The datasets, and the scenes that they are about. */
static const struct {
  const char *name;
  int64_t samples, first, last; /* scenes, but for policy_init, which has those of the pairs, too */
  bool facts;
  int64_t held_out;
} sets[] = {{"pretrain", 3, 0, 2, false, 0},   {"sft", 4, 3, 6, false, 0},
            {"prompts", 5, 7, 11, true, 0},    {"policy_init", 6, 7, 13, true, 0},
            {"rl", 7, 14, 20, true, HELD_OUT}, {"eval", 8, 21, 28, true, 0}};
enum { SETS = sizeof sets / sizeof *sets };

static void make_world(const char *folder, int seed, const char *datasets) {
  char input[1024];
  snprintf(input, sizeof input, world_input, folder, seed, datasets);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, world_task_run));
}

static const char *file_of(const char *folder, const char *name, char path[FILE_MAX_PATH]) {
  char file[128];
  snprintf(file, sizeof file, "%s/%s", folder, name);
  return fixture_path(fixture(), file, path);
}

static void open_set(const char *folder, int s, dataset_t **dataset) {
  char path[FILE_MAX_PATH], name[64];
  snprintf(name, sizeof name, "%s.h5", sets[s].name);
  assert_ok(dataset_open(NULL, file_of(folder, name, path), dataset));
}

static void check_sample(const dataset_t *dataset, int s, int64_t i) {
  dataset_sample_t sample;
  char *name, expected[SCENE_IMAGE_MAX];
  assert_ok(dataset_sample_read(dataset, i, &sample));
  assert_ok(dataset_image_name(dataset, sample.image, &name));
  bool found = false;
  for (int64_t id = sets[s].first; id <= sets[s].last; id++) {
    scene_image_name(id, expected);
    found = found || strcmp(name, expected) == 0;
  }
  if (!found) fail_msg("%s: sample %lld is about %s", sets[s].name, (long long)i, name);
  if (sets[s].facts != (sample.fact_count > 0)) fail_msg("%s: %d facts", sets[s].name, sample.fact_count);
  assert_in_range(sample.conversation.count, 1, 4); /* turns = 2 */
  memory_free(name);
  dataset_sample_free(&sample);
}

static void check_set(int s) {
  dataset_t *dataset;
  open_set("own", s, &dataset);
  dataset_info_t info = dataset_info(dataset);
  assert_int_equal(info.samples, sets[s].samples);
  assert_int_equal(info.held_out, sets[s].held_out);
  assert_int_equal(info.skipped, 0);
  for (int64_t i = 0; i < info.samples; i++)
    check_sample(dataset, s, i);
  dataset_close(dataset);
}

static void check_scenes(void) {
  char path[FILE_MAX_PATH];
  scene_table_t scenes;
  bool seen[9] = {false};
  assert_ok(scene_table_read(file_of("own", "scenes.jsonl", path), &scenes));
  assert_int_equal(scenes.count, SCENES);
  for (int64_t i = 0; i < scenes.count; i++) {
    assert_in_range(scenes.entries[i].scene.count, 2, 3);
    seen[scenes.entries[i].scene.count] = true;
  }
  assert_true(seen[2] && seen[3]);
  scene_table_free(&scenes);
}

static void a_world_is_as_asked_for(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  make_world("own", 1, ".true.");
  if (comm_rank(world) == 0) {
    for (int s = 0; s < SETS; s++)
      check_set(s);
    check_scenes();
  }
  assert_ok(comm_barrier(world));
}

/* Which samples are held out is up to job.seed, what the world is like to world.seed alone. */
static void held_out_samples_are_drawn(void **state) {
  enum { RL = 4, TRIES = 6 };
  (void)state;
  comm_t *world = mpi_test_world();
  dataset_t *dataset;
  int differ = 0;
  char before[64] = "";
  for (int seed = 1; seed <= TRIES; seed++) {
    char folder[32], held[64] = "";
    snprintf(folder, sizeof folder, "seed%d", seed);
    make_world(folder, seed, ".true.");
    open_set(folder, RL, &dataset);
    dataset_rows_t rows;
    assert_ok(dataset_rows(NULL, dataset, DATASET_HELD_OUT, &rows));
    assert_int_equal(rows.count, HELD_OUT);
    for (int64_t i = 0; i < rows.count; i++)
      snprintf(held + strlen(held), sizeof held - strlen(held), "%lld ", (long long)rows.rows[i]);
    if (*before) differ += strcmp(before, held) != 0;
    strcpy(before, held);
    dataset_rows_free(&rows);
    dataset_close(dataset);
    assert_ok(comm_barrier(world));
  }
  assert_true(differ > 0);
  if (comm_rank(world) == 0) {
    char *first, *second;
    fixture_read("seed1/rl.json", &first);
    fixture_read("seed2/rl.json", &second);
    assert_string_equal(first, second);
    memory_free(first);
    memory_free(second);
  }
  assert_ok(comm_barrier(world));
}

static void datasets_may_be_left_out(void **state) {
  (void)state;
  char path[FILE_MAX_PATH];
  make_world("bare", 1, ".false.");
  assert_true(file_exists(file_of("bare", "rl.json", path)));
  assert_false(file_exists(file_of("bare", "rl.h5", path)));
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Bytes of the world's file NAME (*N) when it is made with SETTINGS. */
static char *file_with(const char *settings, const char *name, size_t *n) {
  char input[1024], path[FILE_MAX_PATH], *bytes;
  snprintf(input, sizeof input,
           "&job task='world' run_dir='@/one' /\n&world pretrain_images=1 sft_images=24 pair_images=1 "
           "policy_init_images=1 ppo_images=1 eval_images=1 datasets=F %s /\n",
           settings);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, world_task_run));
  assert_ok(file_read(file_of("one", name, path), 1 << 20, &bytes, n));
  assert_ok(comm_barrier(mpi_test_world()));
  return bytes;
}

static void images_are_as_asked_for(void **state) {
  size_t fine_size, coarse_size;
  int32_t width, height;
  (void)state;
  char *fine = file_with("image_size=40 jpeg_quality=95", "images/000/000000.jpg", &fine_size);
  char *coarse = file_with("image_size=40 jpeg_quality=20", "images/000/000000.jpg", &coarse_size);
  assert_ok(jpeg_size((const uint8_t *)fine, fine_size, "fine", &width, &height));
  assert_true(width == 40 && height == 40);
  assert_true(2 * coarse_size < 3 * fine_size / 2);
  memory_free(fine);
  memory_free(coarse);
}

/* Each of these changes the conversations, and leaves them as they are where it does not change. */
static void conversations_are_as_asked_for(void **state) {
  static const char *const settings[] = {"bias=0.9 seed=3 turns=3", "bias=0.9 seed=3 turns=3",
                                         "bias=0 seed=3 turns=3", "bias=0.9 seed=4 turns=3",
                                         "bias=0.9 seed=3 turns=4"};
  char *texts[5];
  size_t n;
  (void)state;
  for (int i = 0; i < 5; i++)
    texts[i] = file_with(settings[i], "sft.json", &n);
  assert_string_equal(texts[1], texts[0]);
  for (int i = 2; i < 5; i++)
    assert_string_not_equal(texts[i], texts[0]);
  for (int i = 0; i < 5; i++)
    memory_free(texts[i]);
}

/* ---- annotate ---- */

enum { PAIRS = FIXTURE_QUESTIONS };

/* Pairs about the questions' images: an honest answer, which is the first one in every other pair, and an
 * invention. */
static void write_pairs(void) {
  static const char *const honest = "I do not know.",
                           *const invented = "There is a red circle. There is a blue circle. There is a "
                                             "green circle. There is a white circle. There is a "
                                             "yellow circle.";
  char path[FILE_MAX_PATH], text[PAIRS * 640] = "[";
  scene_table_t scenes;
  assert_ok(scene_table_read(file_of("world", "scenes.jsonl", path), &scenes));
  for (int i = 0; i < PAIRS; i++) {
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used,
             "%s{\"id\": \"p%d\", \"image\": \"%s\", \"conversations\": [{\"from\": \"human\", \"value\": "
             "\"Describe the image.\"}], \"output_1\": {\"from\": \"gpt\", \"value\": \"%s\"}, \"output_2\": "
             "{\"from\": \"gpt\", \"value\": \"%s\"}}",
             i > 0 ? ",\n" : "", i, scenes.entries[i].image, i % 2 == 0 ? honest : invented,
             i % 2 == 0 ? invented : honest);
  }
  strcat(text, "]\n");
  scene_table_free(&scenes);
  io_test_write(file_of("", "pairs.json", path), text);
}

/* Preferences (PAIRS) that the annotator gives with NOISE and SEED. */
static void annotate(const char *noise, int seed, int64_t *preferences) {
  char input[512], path[FILE_MAX_PATH], name[64];
  json_document_t document;
  snprintf(name, sizeof name, "annotate_%s_%d", noise, seed);
  snprintf(input, sizeof input,
           "&job task='annotate' run_dir='@/%s' seed=%d /\n"
           "&annotate pairs='@/pairs.json' scenes='@/world/scenes.jsonl' label_noise=%s /\n",
           name, seed, noise);
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, input, annotate_task_run));
  assert_ok(json_parse_file(file_of(name, "preferences.json", path), 1 << 20, &document));
  assert_int_equal(document.root->count, PAIRS);
  for (int i = 0; i < PAIRS; i++)
    assert_ok(json_int(json_at(document.root, i), "preference", "pair", &preferences[i]));
  json_free(&document);
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Without noise the honest answer, with noise 1 the other one, and in between some of each, by seed. */
static void label_noise_is_in_the_labels(void **state) {
  int64_t none[PAIRS], all[PAIRS], half[PAIRS], other[PAIRS];
  int turned = 0, differ = 0;
  (void)state;
  write_pairs();
  annotate("0.0", 1, none);
  annotate("1.0", 1, all);
  annotate("0.5", 1, half);
  annotate("0.5", 2, other);
  for (int i = 0; i < PAIRS; i++) {
    assert_int_equal(none[i], i % 2 == 0 ? 1 : 2);
    assert_int_equal(all[i], 3 - none[i]);
    turned += half[i] != none[i];
    differ += half[i] != other[i];
  }
  assert_in_range(turned, 1, PAIRS - 1);
  assert_true(differ > 0);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_set_up),
      cmocka_unit_test(a_world_is_as_asked_for),
      cmocka_unit_test(held_out_samples_are_drawn),
      cmocka_unit_test(datasets_may_be_left_out),
      cmocka_unit_test(images_are_as_asked_for),
      cmocka_unit_test(conversations_are_as_asked_for),
      cmocka_unit_test(label_noise_is_in_the_labels),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
