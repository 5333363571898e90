/* What report.html is made of, on runs that are made up: the data that the page's script draws. How it looks
 * is for eyes. */
#define _GNU_SOURCE
#include "base/base64.h"
#include "fake_run.h"
#include "io/json.h"
#include "record/report.h"
#include "record/report_template.h"
#include "run_test.h"

#include <math.h>
#include <unistd.h>

enum { REPORT_MAX = 1 << 26, POINTS_MAX = 4096 };

static int count(const char *text, const char *part) {
  int n = 0;
  for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
    n++;
  return n;
}

/* A page, and the data in it. */
typedef struct {
  char *text;
  size_t size;
  json_document_t data;
  const json_t *run; /* the first one */
} page_t;

static void page_free(page_t *page) {
  memory_free(page->text);
  json_free(&page->data);
}

/* The data end where a browser would see them end: at the next "</script", in any case of letters. */
static page_t read_page(const char *path) {
  static const char mark[] = "type=\"application/json\">";
  page_t page;
  assert_ok(file_read(path, REPORT_MAX, &page.text, &page.size));
  char *begin = strstr(page.text, mark);
  assert_non_null(begin);
  begin += strlen(mark);
  char *end = strcasestr(begin, "</script");
  assert_non_null(end);
  assert_ok(json_parse(begin, (size_t)(end - begin), "the page", &page.data));
  const json_t *runs = json_get(page.data.root, "runs");
  assert_non_null(runs);
  page.run = json_at(runs, 0);
  return page;
}

static page_t make_page(const char *folder) {
  char path[FILE_MAX_PATH];
  assert_ok(report_write(1, &folder, run_test_path(path, folder, "report.html")));
  return read_page(path);
}

static const json_t *array(const page_t *page, const char *key) {
  const json_t *found;
  assert_ok(json_array(page->run, key, "the run", &found));
  return found;
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text;
  assert_ok(json_string(object, key, "the page", &text));
  return text;
}

static double number_of(const json_t *object, const char *key) {
  double number;
  assert_ok(json_real(object, key, "the page", &number));
  return number;
}

static const json_t *series(const page_t *page, const char *name) {
  for (const json_t *s = array(page, "series")->u.first; s; s = s->next)
    if (strcmp(text_of(s, "name"), name) == 0) return s;
  return NULL;
}

static double number_at(const json_t *list, int64_t i) {
  const json_t *item = json_at(list, i);
  assert_non_null(item);
  return item->type == JSON_INT ? (double)item->u.integer : item->u.real;
}

/* Answers that are shown, whose text holds PART. */
static int answers_with(const page_t *page, const char *part) {
  int n = 0;
  for (const json_t *sample = array(page, "samples")->u.first; sample; sample = sample->next)
    n += strstr(text_of(sample, "answer"), part) != NULL;
  return n;
}

static void ppo_runs_have_curves_and_first_and_last_answers(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  assert_ok(fake_ppo_run(folder, 60));
  page_t page = make_page(folder);
  const json_t *rewards = series(&page, "objective/rewards");
  assert_non_null(rewards);
  assert_true(array(&page, "series")->count >= 30);
  assert_int_equal(json_get(rewards, "steps")->count, 60);
  assert_int_equal(json_get(rewards, "values")->count, 60);
  assert_true(number_at(json_get(rewards, "steps"), 59) == 60.0);
  assert_null(series(&page, "seconds"));
  assert_true(number_of(page.run, "seconds") > 100.0); /* of the newest line */
  assert_int_equal(array(&page, "samples")->count, 2 * FAKE_SAMPLES);
  assert_int_equal(answers_with(&page, "answer-1-"), FAKE_SAMPLES);
  assert_int_equal(answers_with(&page, "answer-60-"), FAKE_SAMPLES);
  assert_string_equal(text_of(json_get(page.run, "run"), "task"), "ppo");
  assert_true(json_get(json_get(page.run, "perf"), "regions")->count > 10);
  assert_non_null(strstr(text_of(page.run, "input"), "kl_coef"));
  assert_int_equal(array(&page, "notes")->count, 0);
  page_free(&page);
  run_test_remove(folder);
}

/* Metrics with their meaning, and charts, come from the table. */
static void the_table_of_metrics_is_in_the_page(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  bool found = false;
  run_test_folder(folder);
  assert_ok(fake_rm_run(folder));
  page_t page = make_page(folder);
  for (const json_t *m = json_get(page.data.root, "metrics")->u.first; m; m = m->next)
    if (strcmp(text_of(m, "name"), "rm/loss") == 0) {
      found = true;
      assert_string_equal(text_of(m, "unit"), "nats");
      assert_string_equal(text_of(m, "better"), "down");
      assert_string_equal(text_of(m, "chart"), "Loss");
    }
  assert_true(found);
  assert_true(json_get(page.data.root, "charts")->count > 10);
  page_free(&page);
  run_test_remove(folder);
}

/* STEPS of a curve near 1 with one very small and one very large value. */
static void write_long_run(const char *folder, int steps) {
  char path[FILE_MAX_PATH];
  FILE *file = fopen(run_test_path(path, folder, "metrics.jsonl"), "w");
  assert_non_null(file);
  for (int s = 1; s <= steps; s++) {
    double value = 1.0 + 0.1 * sin(0.37 * s);
    if (s == 777) value = -50.0;
    if (s == steps - 1234) value = 90.0;
    fprintf(file, "{\"step\":%d,\"seconds\":1.0,\"sft/loss\":%.17g,\"sft/lr\":0.001}\n", s, value);
  }
  assert_int_equal(fclose(file), 0);
}

/* 100,000 steps: a few thousand points, and no extreme is lost. */
static void long_curves_are_thinned(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  write_long_run(folder, 10000);
  page_t page = make_page(folder);
  size_t few = page.size;
  page_free(&page);
  write_long_run(folder, 100000);
  page = make_page(folder);
  const json_t *loss = series(&page, "sft/loss"), *steps = json_get(loss, "steps"),
               *values = json_get(loss, "values");
  assert_true(page.size < 2 * few);
  assert_true(number_of(loss, "count") == 100000.0 && number_of(loss, "span") == 64.0);
  assert_true(steps->count == values->count && steps->count > 2000 && steps->count <= POINTS_MAX);
  double last = 0.0, low = 0.0, high = 0.0;
  const json_t *value = values->u.first;
  for (const json_t *step = steps->u.first; step; step = step->next, value = value->next) {
    double at = (double)step->u.integer,
           v = value->type == JSON_INT ? (double)value->u.integer : value->u.real;
    assert_true(step->type == JSON_INT && at > last);
    last = at;
    if (at == 777.0) low = v;
    if (at == 100000.0 - 1234.0) high = v;
  }
  assert_true(low == -50.0 && high == 90.0);
  assert_true(fabs(number_of(loss, "end") - 1.0) < 0.03); /* mean of the last twentieth, 90 among 5000 */
  page_free(&page);
  run_test_remove(folder);
}

/* A curve that fits is there to seven digits, in order. */
static void short_curves_are_whole(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  write_long_run(folder, 2048);
  page_t page = make_page(folder);
  const json_t *loss = series(&page, "sft/loss");
  assert_int_equal(json_get(loss, "values")->count, 2048);
  for (int s = 1; s <= 700; s++)
    assert_true(fabs(number_at(json_get(loss, "values"), s - 1) - (1.0 + 0.1 * sin(0.37 * s))) < 1e-6);
  page_free(&page);
  run_test_remove(folder);
}

/* A run that died in the midst of a line; a line that the disk has spoilt. */
static void half_lines_are_passed_over(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "metrics.jsonl",
                 "{\"step\":1,\"sft/loss\":3.5}\n{\"step\":2,\"sft/lo\n{\"step\":3,\"sft/loss\":2.5}\n"
                 "{\"step\":4,\"sft/loss\":1.5}");
  run_test_write(folder, "samples.jsonl",
                 "{\"step\":1,\"model\":\"m\",\"question\":\"q\",\"answer\":\"whole\"}\n{\"step\":1,\"mod");
  page_t page = make_page(folder);
  const json_t *loss = series(&page, "sft/loss");
  assert_int_equal(json_get(loss, "values")->count, 2);
  assert_true(number_at(json_get(loss, "steps"), 1) == 3.0 && number_at(json_get(loss, "values"), 1) == 2.5);
  assert_int_equal(array(&page, "samples")->count, 1);
  assert_int_equal(array(&page, "notes")->count,
                   1); /* the spoilt line; the last ones are still being written */
  page_free(&page);
  run_test_remove(folder);
}

/* What is no number, or none that was measured, spoils nothing. */
static void odd_values_are_left_out(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(
      folder, "metrics.jsonl",
      "{\"step\":7,\"seconds\":1.0,\"sft/loss\":null,\"sft/lr\":0.0,\"mine\":-3e-9}\n"
      "{\"step\":8,\"x\":1e300,\"mine\":\"text\"}\n{\"step\":9,\"x\":5}\n[1]\n{\"step\":1e300,\"x\":6}\n");
  page_t page = make_page(folder);
  assert_int_equal(array(&page, "series")->count, 3);
  assert_null(series(&page, "sft/loss"));
  assert_true(number_at(json_get(series(&page, "mine"), "values"), 0) == -3e-9);
  assert_int_equal(json_get(series(&page, "x"), "values")->count, 1);
  page_free(&page);
  run_test_remove(folder);
}

/* An answer that tries to be a script stays an answer: the data element ends where it should, and its text
 * comes back. */
static void texts_cannot_break_out(void **state) {
  (void)state;
  static const char evil[] =
      "</script><script>alert(1)</script><!-- \xe2\x80\xa8 \xe2\x80\xa9 \" \\ & ]]> {{DATA}}";
  char folder[FILE_MAX_PATH], *line;
  size_t n;
  json_writer_t *writer;
  run_test_folder(folder);
  assert_ok(json_writer_create(NULL, &writer));
  json_write_object_begin(writer);
  json_write_int_member(writer, "step", 1);
  json_write_member(writer, "model", evil);
  json_write_member(writer, "question", evil);
  json_write_member(writer, "answer", evil);
  json_write_object_end(writer);
  json_write_line(writer);
  assert_ok(json_writer_finish(writer, &line, &n));
  run_test_write(folder, "samples.jsonl", line);
  memory_free(line);
  run_test_write(folder, "input.nml", evil);
  page_t page = make_page(folder);
  const json_t *sample = array(&page, "samples")->u.first;
  assert_string_equal(text_of(sample, "answer"), evil);
  assert_string_equal(text_of(sample, "question"), evil);
  assert_string_equal(text_of(page.run, "input"), evil);
  assert_int_equal(count(page.text, "<script"), 2); /* the template's own */
  assert_int_equal(count(page.text, "</script"), 2);
  assert_int_equal(count(page.text, "\xe2\x80\xa8"), 0);
  assert_int_equal(count(page.text, "\xe2\x80\xa9"), 0);
  page_free(&page);
  run_test_remove(folder);
}

static void invalid_utf8_is_replaced(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "input.nml", "&job\n  run_dir = 'caf\xe9'\n/\n");
  page_t page = make_page(folder);
  assert_string_equal(text_of(page.run, "input"), "&job\n  run_dir = 'caf\xef\xbf\xbd'\n/\n");
  page_free(&page);
  run_test_remove(folder);
}

/* Nothing that a browser would fetch; the page says so to the browser. */
static void the_page_is_self_contained(void **state) {
  (void)state;
  char *text;
  assert_ok(memory_copy_text(&text, ARENA_OTHER, (const char *)report_template, report_template_size));
  assert_int_equal(count(text, "src=\""), 0);
  assert_int_equal(count(text, "href="), 0);
  assert_int_equal(count(text, "url("), 0);
  assert_int_equal(count(text, "@import"), 0);
  assert_int_equal(count(text, "http://"), count(text, "http://www.w3.org/2000/svg"));
  assert_int_equal(count(text, "https://"), 0);
  assert_int_equal(count(text, "default-src 'none'"), 1);
  assert_int_equal(count(text, "innerHTML"), 0); /* texts are never markup */
  assert_int_equal(count(text, "{{DATA}}"), 1);
  memory_free(text);
}

/* Three models answer the same questions; each image is there once. Numbers and intervals are those of the
 * file. */
static void evaluations_are_passed_on(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  assert_ok(fake_evaluate_run(folder));
  page_t page = make_page(folder);
  assert_int_equal(array(&page, "samples")->count, 3 * FAKE_SAMPLES);
  assert_int_equal(array(&page, "images")->count, FAKE_SAMPLES - 1); /* one question has no image */
  const json_t *models = json_get(json_get(page.run, "evaluation"), "models");
  assert_int_equal(models->count, 3);
  assert_true(number_of(json_at(models, 0), "hallucination") == 0.41);
  page_free(&page);
  run_test_write(folder, "evaluation.json",
                 "{\"models\": [{\"model\": \"m\", \"rating\": {\"value\": 3, \"low\": 2.5, \"high\": 3.5, "
                 "\"n\": 40}}]}");
  page = make_page(folder);
  models = json_get(json_get(page.run, "evaluation"), "models");
  assert_true(number_of(json_get(json_at(models, 0), "rating"), "high") == 3.5);
  page_free(&page);
  run_test_remove(folder);
}

static void an_empty_folder_makes_an_empty_report(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH];
  run_test_folder(folder);
  run_test_write(folder, "metrics.jsonl", "");
  page_t page = make_page(folder);
  assert_int_equal(array(&page, "series")->count, 0);
  assert_int_equal(array(&page, "samples")->count, 0);
  page_free(&page);
  run_test_remove(folder);
}

/* What cannot be read is named in the page; the rest is shown. */
static void broken_files_become_notes(void **state) {
  (void)state;
  static const char *const names[] = {"perf.json", "run.json", "evaluation.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char folder[FILE_MAX_PATH];
    run_test_folder(folder);
    run_test_write(folder, "metrics.jsonl", "{\"step\":1,\"sft/loss\":3.5}\n");
    run_test_write(folder, names[i], "{\"step\": 1, \"regions\": [");
    page_t page = make_page(folder);
    assert_int_equal(array(&page, "notes")->count, 1);
    assert_non_null(strstr(json_at(array(&page, "notes"), 0)->u.string, names[i]));
    assert_non_null(series(&page, "sft/loss"));
    assert_string_equal(error_message(), "");
    page_free(&page);
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
      "{\"step\":1,\"question\":\"r\",\"answer\":\"c\",\"dataset\":\"/no/such/file.h5\",\"image\":3}\n"
      "{\"step\":1e300,\"question\":\"r\",\"answer\":\"b\",\"dataset\":\"/x\",\"image\":1e300}\n");
  page_t page = make_page(folder);
  const json_t *images = array(&page, "images");
  assert_int_equal(array(&page, "samples")->count, 4); /* a step that is no whole number is 0 */
  assert_int_equal(images->count, 3);                  /* one is asked about twice, and looked for once */
  for (const json_t *image = images->u.first; image; image = image->next)
    assert_null(json_get(image, "jpeg"));
  assert_int_equal(array(&page, "notes")->count, 1);
  page_free(&page);
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
  page_t page = make_page(folder);
  assert_int_equal(answers_with(&page, "shown-"), 4);
  assert_int_equal(answers_with(&page, "hidden-"), 0);
  page_free(&page);
  run_test_remove(folder);
}

/* Several runs: one page, in the order asked for; --report of one run writes into its directory. */
static void runs_are_compared_in_one_page(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], one[FILE_MAX_PATH], two[FILE_MAX_PATH], path[FILE_MAX_PATH];
  run_test_folder(folder);
  assert_ok(file_make_folder(run_test_path(one, folder, "one")));
  assert_ok(file_make_folder(run_test_path(two, folder, "two")));
  assert_ok(fake_rm_run(one));
  assert_ok(fake_ppo_run(two, 20));
  const char *const runs[] = {one, two};
  assert_ok(report_make(2, runs, run_test_path(path, folder, "both.html")));
  assert_ok(report_make(2, runs, path)); /* a report of ours may be replaced */
  page_t page = read_page(path);
  const json_t *list = json_get(page.data.root, "runs");
  assert_int_equal(list->count, 2);
  assert_string_equal(text_of(json_at(list, 0), "name"), "one");
  assert_string_equal(text_of(json_get(json_at(list, 1), "run"), "task"), "ppo");
  page_free(&page);
  assert_ok(report_make(1, runs, NULL));
  page = read_page(run_test_path(path, one, "report.html"));
  assert_int_equal(json_get(page.data.root, "runs")->count, 1);
  page_free(&page);
  run_test_remove(folder);
}

static void other_files_are_not_written_over(void **state) {
  (void)state;
  char folder[FILE_MAX_PATH], path[FILE_MAX_PATH], *text;
  run_test_folder(folder);
  const char *const runs[] = {folder};
  assert_int_equal(report_make(1, runs, NULL), STATUS_INPUT); /* no run directory */
  assert_ok(fake_rm_run(folder));
  run_test_write(folder, "mine.html", "<p>my own page</p>");
  assert_int_equal(report_make(1, runs, run_test_path(path, folder, "mine.html")), STATUS_INPUT);
  error_clear();
  assert_ok(file_read(path, 1 << 10, &text, NULL));
  assert_string_equal(text, "<p>my own page</p>");
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
      cmocka_unit_test(the_table_of_metrics_is_in_the_page),
      cmocka_unit_test(long_curves_are_thinned),
      cmocka_unit_test(short_curves_are_whole),
      cmocka_unit_test(half_lines_are_passed_over),
      cmocka_unit_test(odd_values_are_left_out),
      cmocka_unit_test(texts_cannot_break_out),
      cmocka_unit_test(invalid_utf8_is_replaced),
      cmocka_unit_test(the_page_is_self_contained),
      cmocka_unit_test(evaluations_are_passed_on),
      cmocka_unit_test(an_empty_folder_makes_an_empty_report),
      cmocka_unit_test(broken_files_become_notes),
      cmocka_unit_test(lost_images_are_left_out),
      cmocka_unit_test(every_model_has_its_own_steps),
      cmocka_unit_test(runs_are_compared_in_one_page),
      cmocka_unit_test(other_files_are_not_written_over),
      cmocka_unit_test(base64_is_as_published),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
