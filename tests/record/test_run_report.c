/* What report.html is made of, on runs that are made up. How it looks is for eyes: build the fake runs and
 * look. */
#define _GNU_SOURCE
#include "record/report.h"

#include "fake_run.h"
#include "record/base64.h"
#include "run_test.h"

static char *read_report(const char *folder) {
  char path[FILE_MAX_PATH], *text;
  assert_ok(file_read(run_test_path(path, folder, "report.html"), 1 << 24, &text, NULL));
  return text;
}

static int count(const char *text, const char *part) {
  int n = 0;
  for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
    n++;
  return n;
}

enum { DEPTH_MAX = 64, NAME_MAX_BYTES = 16 };

static bool is_void(const char *name) {
  static const char *const names[] = {"meta", "img", "br", "hr"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i], name) == 0) return true;
  return false;
}

/* Every tag that is opened is closed in its turn. */
static void assert_well_formed(const char *text) {
  char open[DEPTH_MAX][NAME_MAX_BYTES];
  int depth = 0;
  for (const char *at = strchr(text, '<'); at; at = strchr(at + 1, '<')) {
    bool closing = at[1] == '/';
    const char *name = at + 1 + closing, *end = strchr(at, '>');
    int n = (int)strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
    assert_non_null(end);
    if (at[1] == '!') continue;
    assert_true(n > 0 && n < NAME_MAX_BYTES);
    if (closing) {
      assert_true(depth > 0);
      depth--;
      if (strncmp(open[depth], name, (size_t)n) != 0 || open[depth][n])
        fail_msg("</%.*s> closes <%s>", n, name, open[depth]);
      continue;
    }
    assert_true(depth < DEPTH_MAX);
    snprintf(open[depth], NAME_MAX_BYTES, "%.*s", n, name);
    if (end[-1] != '/' && !is_void(open[depth])) depth++;
  }
  assert_int_equal(depth, 0);
}

/* Nothing that a browser would fetch. */
static void assert_self_contained(const char *text) {
  assert_int_equal(count(text, "src=\""), count(text, "src=\"data:image/jpeg;base64,"));
  assert_int_equal(count(text, "href="), 0);
  assert_int_equal(count(text, "url("), 0);
  assert_int_equal(count(text, "<script"), 0);
  assert_int_equal(count(text, "@import"), 0);
}

static char *make_report(const char *folder) {
  assert_ok(report_html_write(folder));
  char *text = read_report(folder);
  assert_well_formed(text);
  assert_self_contained(text);
  return text;
}

static void ppo_runs_have_curves_and_first_and_last_answers(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], mark[64];
  run_test_folder(folder);
  assert_ok(fake_ppo_run(folder, 60));
  char *text = make_report(folder);
  assert_true(count(text, "<svg") >= 20);
  assert_int_equal(count(text, "<article"), 2 * FAKE_SAMPLES);
  assert_int_equal(count(text, "<img"), 2 * FAKE_SAMPLES);
  for (int i = 0; i < FAKE_SAMPLES; i++) {
    snprintf(mark, sizeof mark, "answer-1-%d)", i);
    assert_int_equal(count(text, mark), 1);
    snprintf(mark, sizeof mark, "answer-60-%d)", i);
    assert_int_equal(count(text, mark), 1);
  }
  assert_int_equal(count(text, "answer-30-"), 0);
  assert_int_equal(count(text, "<b>there</b>"), 0); /* a question's text, not a tag */
  assert_int_equal(count(text, "nan"), 0);
  memory_free(text);
  run_test_remove(folder);
}

/* Size hardly grows with the number of steps. */
static void long_runs_stay_small(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  assert_ok(fake_ppo_run(folder, 150));
  char *text = make_report(folder);
  size_t few = strlen(text);
  memory_free(text);
  assert_ok(fake_ppo_run(folder, 1500));
  text = make_report(folder);
  assert_true(strlen(text) < few + few / 4);
  memory_free(text);
  run_test_remove(folder);
}

static void models_stand_side_by_side(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  assert_ok(fake_evaluate_run(folder));
  char *text = make_report(folder);
  assert_int_equal(count(text, "<article"), FAKE_SAMPLES); /* three answers in each */
  assert_int_equal(count(text, "class=\"answer\""), 3 * FAKE_SAMPLES);
  assert_int_equal(count(text, "<img"), FAKE_SAMPLES - 1); /* one question has no image */
  assert_true(count(text, "class=\"best\"") >= 7);
  memory_free(text);
  run_test_remove(folder);
}

static void short_runs_have_curves_too(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  assert_ok(fake_rm_run(folder));
  char *text = make_report(folder);
  assert_true(count(text, "<svg") >= 5);
  memory_free(text);
  run_test_remove(folder);
}

/* One step, one value that is no number, values that never change. */
static void odd_metrics_are_drawn(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "metrics.jsonl",
                 "{\"step\":7,\"seconds\":1.0,\"sft/loss\":null,\"sft/lr\":0.0,\"mine\":-3e-9}\n");
  char *text = make_report(folder);
  assert_int_equal(count(text, "<svg"), 2);
  assert_int_equal(count(text, "nan"), 0);
  assert_int_equal(count(text, "inf"), 0);
  memory_free(text);
  run_test_write(folder, "metrics.jsonl",
                 "{\"step\":1,\"x\":1e300}\n{\"step\":2,\"x\":-1.7e308}\n{\"step\":2,\"x\":5}\n");
  text = make_report(folder);
  assert_int_equal(count(text, "<svg"), 1);
  memory_free(text);
  run_test_remove(folder);
}

/* What did not change points neither up nor down. */
static void key_figures_tell_their_direction(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "metrics.jsonl",
                 "{\"step\":1,\"sft/loss\":2.0,\"sft/accuracy\":0.5}\n"
                 "{\"step\":2,\"sft/loss\":1.0,\"sft/accuracy\":0.5}\n");
  char *text = make_report(folder);
  assert_int_equal(count(text, "&#9660;"), 1);
  assert_int_equal(count(text, "&#9650;"), 0);
  memory_free(text);
  run_test_remove(folder);
}

/* No two neighbours on an axis of TEXT bear the same label. */
static void assert_labels_differ(const char *text) {
  static const char mark[] = "text-anchor=\"end\">";
  char last[NAME_MAX_BYTES] = "";
  int labels = 0;
  for (const char *at = text; (at = strstr(at, mark)); labels++) {
    at += strlen(mark);
    int n = (int)strcspn(at, "<");
    assert_true(n > 0 && n < NAME_MAX_BYTES);
    if ((int)strlen(last) == n) assert_memory_not_equal(at, last, (size_t)n);
    snprintf(last, sizeof last, "%.*s", n, at);
  }
  assert_true(labels >= 2);
}

static void axes_tell_small_changes_apart(void **state) {
  (void)state;
  static const double values[] = {-2.566, 0.0501, 5.01e-5, 123456.0, 1.0, 0.2};
  char folder[FILE_MAX_PATH], line[256];
  run_test_folder(folder);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    for (int k = 0; k < 3; k++) {
      static const double changes[] = {4e-4, 1e-2, 0.3};
      snprintf(line, sizeof line, "{\"step\":1,\"x\":%.9g}\n{\"step\":2,\"x\":%.9g}\n", values[i],
               values[i] * (1.0 + changes[k]));
      run_test_write(folder, "metrics.jsonl", line);
      char *text = make_report(folder);
      assert_labels_differ(text);
      memory_free(text);
    }
  run_test_remove(folder);
}

/* A rank that hardly waited makes a ratio that says nothing. */
static void large_imbalances_are_cut_short(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(
      folder, "perf.json",
      "{\"regions\": [{\"name\": \"imbalance\", \"avg\": 1, \"share\": 0.5, \"imbalance\": 22706.7}]}");
  char *text = make_report(folder);
  assert_int_equal(count(text, "22706"), 0);
  assert_int_equal(count(text, "&gt;1000"), 1);
  memory_free(text);
  run_test_remove(folder);
}

static void an_empty_folder_makes_an_empty_report(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "metrics.jsonl", "");
  memory_free(make_report(folder));
  run_test_remove(folder);
}

static void broken_files_are_errors(void **state) {
  (void)state;
  static const char *const names[] = {"perf.json", "run.json", "evaluation.json", "metrics.jsonl",
                                      "samples.jsonl"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char folder[FILE_MAX_PATH];
    run_test_folder(folder);
    run_test_write(folder, names[i], "{\"step\": 1, \"regions\": [");
    assert_int_equal(report_html_write(folder), STATUS_DATA);
    error_clear();
    run_test_remove(folder);
  }
}

/* A dataset that is gone takes its images along, not the report. */
static void lost_images_are_left_out(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(
      folder, "samples.jsonl",
      "{\"step\":1,\"question\":\"q\",\"answer\":\"a\",\"dataset\":\"/no/such/file.h5\",\"image\":3}\n"
      "{\"step\":1,\"question\":\"q\",\"answer\":\"b\",\"dataset\":\"/no/such/file.h5\",\"image\":4}\n"
      "{\"step\":1e300,\"question\":\"r\",\"answer\":\"b\",\"dataset\":\"/no/such/"
      "file.h5\",\"image\":1e300}\n");
  char *text = make_report(folder);
  assert_int_equal(count(text, "<article"), 3); /* the same words about another image are another case */
  assert_int_equal(count(text, "<img"), 0);
  memory_free(text);
  run_test_remove(folder);
}

/* Answers that a continued run gave again replace the earlier ones. */
static void repeated_answers_are_shown_once(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "samples.jsonl",
                 "{\"step\":2,\"model\":\"m\",\"question\":\"q\",\"answer\":\"first try\"}\n"
                 "{\"step\":2,\"model\":\"m\",\"question\":\"q\",\"answer\":\"second try\"}\n");
  char *text = make_report(folder);
  assert_int_equal(count(text, "first try"), 0);
  assert_int_equal(count(text, "second try"), 1);
  memory_free(text);
  run_test_remove(folder);
}

/* Answers of two kinds, given at different steps: each kind's first and newest are there. */
static void every_model_has_its_own_steps(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "samples.jsonl",
                 "{\"step\":1,\"model\":\"m\",\"question\":\"q1\",\"answer\":\"shown-1\"}\n"
                 "{\"step\":5,\"model\":\"n\",\"question\":\"q\",\"answer\":\"shown-2\"}\n"
                 "{\"step\":5,\"model\":\"m\",\"question\":\"q5\",\"answer\":\"hidden-1\"}\n"
                 "{\"step\":7,\"model\":\"n\",\"question\":\"q\",\"answer\":\"hidden-2\"}\n"
                 "{\"step\":8,\"model\":\"n\",\"question\":\"q\",\"answer\":\"shown-3\"}\n"
                 "{\"step\":9,\"model\":\"m\",\"question\":\"q9 \\n<image>\",\"answer\":\"shown-4\"}\n");
  char *text = make_report(folder);
  assert_int_equal(count(text, "shown-"), 4);
  assert_int_equal(count(text, "hidden-"), 0);
  assert_int_equal(count(text, "<article"), 3);  /* the same question twice is one case */
  assert_int_equal(count(text, "image&gt;"), 0); /* where the image stood in a question is not for people */
  memory_free(text);
  run_test_remove(folder);
}

static void base64_is_as_published(void **state) {
  (void)state;
  static const char *const pairs[][2] = {{"", ""},
                                         {"f", "Zg=="},
                                         {"fo", "Zm8="},
                                         {"foo", "Zm9v"},
                                         {"foob", "Zm9vYg=="},
                                         {"fooba", "Zm9vYmE="},
                                         {"foobar", "Zm9vYmFy"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) { /* RFC 4648, section 10 */
    char *text;
    assert_ok(base64_encode(pairs[i][0], strlen(pairs[i][0]), &text));
    assert_string_equal(text, pairs[i][1]);
    memory_free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ppo_runs_have_curves_and_first_and_last_answers),
      cmocka_unit_test(long_runs_stay_small),
      cmocka_unit_test(models_stand_side_by_side),
      cmocka_unit_test(short_runs_have_curves_too),
      cmocka_unit_test(odd_metrics_are_drawn),
      cmocka_unit_test(key_figures_tell_their_direction),
      cmocka_unit_test(axes_tell_small_changes_apart),
      cmocka_unit_test(large_imbalances_are_cut_short),
      cmocka_unit_test(an_empty_folder_makes_an_empty_report),
      cmocka_unit_test(broken_files_are_errors),
      cmocka_unit_test(lost_images_are_left_out),
      cmocka_unit_test(repeated_answers_are_shown_once),
      cmocka_unit_test(every_model_has_its_own_steps),
      cmocka_unit_test(base64_is_as_published),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
