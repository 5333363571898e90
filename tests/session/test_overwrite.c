/* Results that would go over inputs, over each other, or nowhere. */
#define _GNU_SOURCE
#include "session/overwrite.h"

#include "io/io_test.h"

static char folder[FILE_MAX_PATH];

/* In the folder: a.json and b.json (files), runs/ (folder), soft -> a.json, hard = a.json, dead -> new.h5,
 * around -> runs, loop -> loop. */
static void set_up(void **state) {
  (void)state;
  char path[FILE_MAX_PATH], other[FILE_MAX_PATH];
  io_test_folder(folder);
  if (comm_rank(mpi_test_world()) == 0) {
    assert_ok(file_replace(io_test_path(path, folder, "a.json"), "[]", 2));
    assert_ok(file_replace(io_test_path(path, folder, "b.json"), "[]", 2));
    assert_int_equal(mkdir(io_test_path(path, folder, "runs"), 0777), 0);
    assert_int_equal(symlink("a.json", io_test_path(path, folder, "soft")), 0);
    assert_int_equal(link(io_test_path(other, folder, "a.json"), io_test_path(path, folder, "hard")), 0);
    assert_int_equal(symlink("new.h5", io_test_path(path, folder, "dead")), 0);
    assert_int_equal(symlink("runs", io_test_path(path, folder, "around")), 0);
    assert_int_equal(symlink("loop", io_test_path(path, folder, "loop")), 0);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

static void tear_down(void **state) {
  (void)state;
  io_test_remove(folder);
}

/* Settings of TEXT, in which every '@' stands for the folder. */
static void settings_with(const char *text, settings_t *settings) {
  char filled[8192], *to = filled;
  for (; *text; text++) {
    if (*text != '@') *to++ = *text;
    if (*text == '@') to += sprintf(to, "%s", folder);
  }
  *to = '\0';
  assert_ok(settings_read_text("test", filled, 0, NULL, settings, NULL));
}

static status_t check(const char *text) {
  settings_t settings;
  settings_with(text, &settings);
  status_code_t status = overwrite_check(mpi_test_world(), &settings);
  settings_free(&settings);
  return status;
}

#define PREPARE "&job task='prepare' run_dir='@/run' /\n&prepare image_folder='@' held_out=1 "

static void test_outputs_are_apart(void **state) {
  (void)state;
  static const char *const same[] = {
      PREPARE "conversations='@/b.json' output='@/new.h5' held_out_output='@/new.h5' /\n",
      PREPARE "conversations='@/b.json' output='@/runs/a.h5' held_out_output='@/runs/../runs/a.h5' /\n",
      PREPARE "conversations='@/b.json' output='@/runs/a.h5' held_out_output='@/around/a.h5' /\n",
      PREPARE "conversations='@/b.json' output='@/new.h5' held_out_output='@/dead' /\n",
      PREPARE "conversations='@/b.json' output='@/x/y/../a.h5' held_out_output='@/x//./a.h5' /\n",
      PREPARE "conversations='@/b.json' output='@/x/../../x/a.h5' held_out_output='@/../x/a.h5' /\n",
      PREPARE "conversations='@/b.json' output='@/new.h5' held_out_output='@/new.h5.partial' /\n",
      PREPARE "conversations='@/b.json' output='@/new.h5' held_out_output='@/run/log.txt' /\n",
      ("&job task='generate' run_dir='@/run' /\n&model base='@/a.json' /\n"
       "&generate dataset='@/b.json' output='@/run/questions.h5' /\n")};
  static const char *const apart[] = {
      PREPARE "conversations='@/b.json' output='@/runs/a.h5' held_out_output='@/runs/b.h5' /\n",
      PREPARE "conversations='@/b.json' output='@/x/a.h5' held_out_output='@/y/a.h5' /\n",
      PREPARE "conversations='@/b.json' output='@/x/a.h5' held_out_output='@/x/../a.h5' /\n"};
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    assert_error(check(same[i]), STATUS_INPUT);
  for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
    assert_ok(check(apart[i]));
}

static void test_inputs_are_kept(void **state) {
  (void)state;
  static const char *const same[] = {
      PREPARE "conversations='@/a.json' output='@/a.json' /\n",
      PREPARE "conversations='@/a.json' output='@/soft' /\n",
      PREPARE "conversations='@/soft' output='@/runs/../a.json' /\n",
      PREPARE "conversations='@/a.json' output='@/hard' /\n",
      PREPARE "conversations='@/b.json' facts='@/a.json' output='@/c.h5' held_out_output='@/soft' /\n",
      PREPARE "conversations='@/run/skipped.jsonl' output='@/c.h5' /\n",
      PREPARE "conversations='@/c.h5.partial' output='@/c.h5' /\n",
      "&job task='annotate' run_dir='@/run' /\n&annotate pairs='@/run/preferences.json' scenes='@/a.json' "
      "/\n",
      "&job task='annotate' run_dir='@/run' /\n&annotate pairs='@/b.json' scenes='@/a.json' output='@/soft' "
      "/\n",
      "&job task='generate' run_dir='@/run' /\n&model base='@/a.json' /\n"
      "&generate dataset='@/run/answers.jsonl' /\n",
      "&job task='evaluate' run_dir='@/run' /\n&model base='@/a.json' /\n"
      "&eval dataset='@/b.json' pope='@/run/pope_1.jsonl' /\n",
      "&job task='score' run_dir='@/run' /\n&model base='@/a.json' /\n&data dataset='@/run/scores.h5' /\n",
      "&job task='sft' run_dir='@/run' /\n&model base='@/run/../run/model.h5' /\n&data dataset='@/b.json' "
      "/\n"};
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    assert_error(check(same[i]), STATUS_INPUT);
  assert_ok(check(PREPARE "conversations='@/soft' facts='@/a.json' output='@/c.h5' /\n"));
}

static void test_folders_are_no_files(void **state) {
  (void)state;
  char path[FILE_MAX_PATH];
  static const char *const wrong[] = {
      PREPARE "conversations='@/a.json' output='@/runs' /\n",
      PREPARE "conversations='@/a.json' output='@/around' /\n",
      PREPARE "conversations='@/a.json' output='@/b.json/a.h5' /\n",
      PREPARE "conversations='@/a.json' output='@/loop' /\n",
      "&job task='annotate' run_dir='@/run' /\n&annotate pairs='@/a.json' scenes='@/b.json' output='@/runs' "
      "/\n",
      "&job task='generate' run_dir='@/run' /\n&model base='@/a.json' /\n"
      "&generate dataset='@/b.json' output='@/runs/' /\n",
      "&job task='sft' run_dir='@/taken' /\n&model base='@/a.json' /\n&data dataset='@/b.json' /\n"};
  if (comm_rank(mpi_test_world()) == 0)
    assert_ok(file_make_folder(io_test_path(path, folder, "taken/model.h5")));
  assert_ok(comm_barrier(mpi_test_world()));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_error(check(wrong[i]), STATUS_INPUT);
}

/* Parts of the files that are about to be written go, others stay. */
static void test_remains_are_removed(void **state) {
  (void)state;
  static const char *const gone[] = {"out/a.h5.partial", "out/b.h5.partial", "run/run.json.partial"};
  static const char *const kept[] = {"out/c.h5.partial", "out/a.h5"};
  char path[FILE_MAX_PATH];
  settings_t settings;
  if (comm_rank(mpi_test_world()) == 0) {
    assert_ok(file_make_folder(io_test_path(path, folder, "out")));
    assert_ok(file_make_folder(io_test_path(path, folder, "run")));
    for (int i = 0; i < 3; i++)
      assert_ok(file_replace(io_test_path(path, folder, gone[i]), "half", 4));
    for (int i = 0; i < 2; i++)
      assert_ok(file_replace(io_test_path(path, folder, kept[i]), "whole", 5));
  }
  assert_ok(comm_barrier(mpi_test_world()));
  settings_with(PREPARE "conversations='@/a.json' output='@/out/a.h5' held_out_output='@/out/b.h5' /\n",
                &settings);
  assert_ok(overwrite_clear(mpi_test_world(), &settings));
  assert_ok(overwrite_clear(mpi_test_world(), &settings));
  settings_free(&settings);
  for (int i = 0; i < 3; i++)
    assert_false(file_exists(io_test_path(path, folder, gone[i])));
  for (int i = 0; i < 2; i++)
    assert_true(file_exists(io_test_path(path, folder, kept[i])));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(set_up),
      cmocka_unit_test(test_outputs_are_apart),
      cmocka_unit_test(test_inputs_are_kept),
      cmocka_unit_test(test_folders_are_no_files),
      cmocka_unit_test(test_remains_are_removed),
      cmocka_unit_test(tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
