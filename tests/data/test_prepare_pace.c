/* Preparing where the ranks' shares take unequally long, under the watchdog, and where some rank requests to
 * stop at any moment. Linked with --wrap=image_check, which can be made slow. */
#define _GNU_SOURCE
#include "data/prepare.h"
#include "mpi_test.h"
#include "parallel/watchdog.h"

#include "data_test.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { PICTURES = 24 };

static useconds_t delay;          /* microseconds for each image of the last rank */
static atomic_int checked;        /* images, by this rank */
static char tally[FILE_MAX_PATH]; /* a file with a byte for each image that any rank has begun */

status_code_t __real_image_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width,
                                 int32_t *height);
status_code_t __wrap_image_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width,
                                 int32_t *height);

static void count_all(void) {
  int file = open(tally, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  assert_true(file >= 0 && write(file, "x", 1) == 1);
  close(file);
}

/* Until the other ranks, where there are some, have begun all other images, however fast they are, and DELAY
 * more. */
static void be_slow(void) {
  struct stat begun;
  const bool alone = comm_size(mpi_test_world()) == 1;
  while (!alone && stat(tally, &begun) == 0 && begun.st_size < PICTURES)
    usleep(1000);
  usleep(delay);
}

status_code_t __wrap_image_check(const uint8_t *bytes, size_t n, const char *name, int32_t *width,
                                 int32_t *height) {
  comm_t *world = mpi_test_world();
  atomic_fetch_add(&checked, 1);
  if (delay > 0) count_all();
  if (delay > 0 && comm_rank(world) == comm_size(world) - 1) be_slow();
  return __real_image_check(bytes, n, name, width, height);
}

typedef struct {
  char folder[FILE_MAX_PATH], talks[FILE_MAX_PATH], facts[FILE_MAX_PATH], output[FILE_MAX_PATH],
      partial[FILE_MAX_PATH], report[FILE_MAX_PATH];
  prepare_options_t options;
} prepare_pace_setting_t;

static void write_texts(const prepare_pace_setting_t *setting) {
  FILE *talks = fopen(setting->talks, "w"), *facts = fopen(setting->facts, "w");
  assert_non_null(talks);
  assert_non_null(facts);
  fputs("{", facts);
  for (int i = 0; i < PICTURES; i++) {
    fprintf(talks, "{\"id\": \"%d\", \"image\": \"%d.jpg\", \"conversations\": [{\"from\": \"human\", ", i,
            i);
    fprintf(talks, "\"value\": \"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"%d\"}]}\n", i);
    fprintf(facts, "%s\"%d.jpg\": [\"fact\"]", i == 0 ? "" : ", ", i);
  }
  fputs("}\n", facts);
  fclose(talks);
  fclose(facts);
}

static void setting_start(prepare_pace_setting_t *setting) {
  io_test_folder(setting->folder);
  io_test_path(setting->talks, setting->folder, "talks.jsonl");
  io_test_path(setting->facts, setting->folder, "facts.json");
  io_test_path(setting->output, setting->folder, "data.h5");
  io_test_path(setting->partial, setting->folder, "data.h5.partial");
  io_test_path(setting->report, setting->folder, "report.jsonl");
  if (data_test_first()) {
    write_texts(setting);
    for (int i = 0; i < PICTURES; i++) {
      char name[32];
      snprintf(name, sizeof name, "%d.jpg", i);
      data_test_image(setting->folder, name, i, 0);
    }
  }
  assert_ok(comm_barrier(mpi_test_world()));
  setting->options = (prepare_options_t){.conversations = setting->talks,
                                         .facts = setting->facts,
                                         .image_folder = setting->folder,
                                         .output = setting->output,
                                         .skip_bad = true,
                                         .report = setting->report,
                                         .workers = 1};
}

/* All images have been checked, once, and those that the slow rank had no time for by the others. */
static void check_dealing(void) {
  comm_t *world = mpi_test_world();
  const int32_t mine = atomic_load(&checked), size = comm_size(world);
  int32_t all = mine;
  assert_ok(comm_allreduce(world, &all, 1, COMM_I32, COMM_SUM));
  assert_int_equal(all, PICTURES);
  if (size > 1 && comm_rank(world) == size - 1) assert_true(mine < PICTURES / size / 2);
}

/* The others wait for longer than the watchdog lets anybody wait in silence. */
static void a_slow_share_is_waited_for(void **state) {
  (void)state;
  prepare_pace_setting_t setting;
  setting_start(&setting);
  io_test_path(tally, setting.folder, "tally");
  delay = (useconds_t)(4000000 * comm_size(mpi_test_world()) / PICTURES);
  atomic_store(&checked, 0);
  assert_ok(watchdog_start(mpi_test_world(), 2));
  assert_ok(prepare_run(mpi_test_world(), &setting.options, NULL));
  watchdog_stop();
  delay = 0;
  assert_true(file_exists(setting.output));
  check_dealing();
  io_test_remove(setting.folder);
}

/* Of rank WHO, at its look AT. */
typedef struct {
  int who;
  int64_t at, looks;
} request_t;

static bool requested(void *context) {
  request_t *asked = context;
  return ++asked->looks == asked->at && comm_rank(mpi_test_world()) == asked->who;
}

/* Returns whether the request stopped it. */
static bool stops(prepare_pace_setting_t *setting, request_t asked) {
  comm_t *world = mpi_test_world();
  stop_vote_t *vote = NULL;
  assert_ok(stop_vote_start_ranks(world, requested, &asked, &vote));
  setting->options.vote = vote;
  status_code_t status = prepare_run(world, &setting->options, NULL);
  stop_vote_free(vote);
  assert_true(status == STATUS_OK || status == STATUS_STOPPED);
  int32_t range[2] = {(int32_t)status, -(int32_t)status};
  assert_ok(comm_allreduce(world, range, 2, COMM_I32, COMM_MAX));
  assert_int_equal(range[0], -range[1]);
  return status == STATUS_STOPPED;
}

static void a_request_at_any_moment_leaves_nothing_behind(void **state) {
  (void)state;
  prepare_pace_setting_t setting;
  const int size = comm_size(mpi_test_world());
  setting_start(&setting);
  for (int64_t at = 1; at < 64; at += 1 + at / 6) {
    bool stopped = stops(&setting, (request_t){.who = (int)at % size, .at = at});
    if (at == 1) assert_true(stopped);
    if (data_test_first()) {
      assert_int_equal(file_exists(setting.output), !stopped);
      assert_int_equal(file_exists(setting.report), !stopped);
      assert_false(file_exists(setting.partial));
      if (!stopped) unlink(setting.output);
      if (!stopped) unlink(setting.report);
    }
    assert_ok(comm_barrier(mpi_test_world()));
  }
  assert_false(stops(&setting, (request_t){.who = -1}));
  io_test_remove(setting.folder);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_slow_share_is_waited_for),
      cmocka_unit_test(a_request_at_any_moment_leaves_nothing_behind),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
