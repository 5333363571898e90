/* Task evaluate from files to files. */
#include "eval/evaluate.h"

#include "base/memory.h"
#include "eval/pope.h"
#include "io/json.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"
#include "text/answers.h"
#include "world/judge.h"
#include "world/scene_file.h"

#include <math.h>
#include <string.h>

static const char input[] =
    "&job task='evaluate' run_dir='@/evaluate' /\n&model template='v1' /\n"
    "&eval models='@/model.h5', '@/adapted.h5' dataset='@/world/eval.h5' judge='shapes' "
    "scenes='@/world/scenes.jsonl' pope='@/world/pope.jsonl' pope_suffix=' Yes or no?' /\n"
    "&generate max_tokens=8 greedy=.false. temperature=3.0 /\n";

static const char *member(const json_element_t *element, const char *key) {
  const char *text;
  assert_ok(json_string(element->value, key, "answer", &text));
  return text;
}

/* What the answers of a file come to, judged here. */
static int64_t judge_file(const char *name, const scene_table_t *scenes, judge_table_t *table) {
  char path[FILE_MAX_PATH];
  json_reader_t *reader;
  json_element_t element;
  memset(table, 0, sizeof *table);
  assert_ok(json_reader_open(fixture_path(fixture(), name, path), JSON_ELEMENTS, &reader));
  for (;;) {
    judgement_t judgement;
    int64_t rating;
    assert_ok(json_reader_next(reader, &element));
    if (!element.value) break;
    const scene_t *scene = scene_table_find(scenes, member(&element, "image"));
    judge_response(scene, member(&element, "text"), member(&element, "answer"), &judgement);
    assert_ok(json_int(element.value, "rating", "answer", &rating));
    assert_int_equal(rating, judgement.rating);
    judge_table_add(table, &judgement);
  }
  json_reader_close(reader);
  return (int64_t)table->all.responses;
}

static void count_file(const char *name, pope_counts_t *counts) {
  char path[FILE_MAX_PATH];
  json_reader_t *reader;
  json_element_t element;
  *counts = (pope_counts_t){0};
  assert_ok(json_reader_open(fixture_path(fixture(), name, path), JSON_ELEMENTS, &reader));
  for (;;) {
    assert_ok(json_reader_next(reader, &element));
    if (!element.value) break;
    pope_add(counts, strcmp(member(&element, "label"), "yes") == 0,
             pope_says_yes(text_view(member(&element, "answer"))));
  }
  json_reader_close(reader);
}

static void check_real(const json_t *object, const char *key, double expected) {
  double got;
  assert_ok(json_real(object, key, "evaluation", &got));
  assert_true(fabs(got - expected) < 1e-12);
}

static void check_model(const json_t *model, int k, const scene_table_t *scenes) {
  char name[64];
  judge_table_t table;
  pope_counts_t counts;
  const json_t *pope;
  snprintf(name, sizeof name, "evaluate/answers_%d.jsonl", k);
  assert_int_equal(judge_file(name, scenes, &table), FIXTURE_QUESTIONS);
  judge_summary_t summary = judge_table_summary(&table);
  check_real(model, "rating", summary.rating);
  check_real(model, "hallucination", summary.hallucination);
  check_real(model, "open_hallucination", summary.open_hallucination);
  check_real(model, "claims_right", summary.claims_right);
  check_real(model, "clean_claims_right", summary.clean_claims_right);
  check_real(model, "recall", summary.recall);
  check_real(model, "words", summary.words);
  snprintf(name, sizeof name, "evaluate/pope_%d.jsonl", k);
  count_file(name, &counts);
  assert_ok(json_object(model, "pope", "evaluation", &pope));
  check_real(pope, "TP", (double)counts.true_positive);
  check_real(pope, "TN", (double)counts.true_negative);
  check_real(pope, "accuracy", pope_scores(&counts).accuracy);
  assert_int_equal(counts.true_positive + counts.false_negative, FIXTURE_QUESTIONS);
}

static void check_evaluation(void) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  scene_table_t scenes;
  const json_t *models;
  assert_ok(scene_table_read(fixture_path(fixture(), "world/scenes.jsonl", path), &scenes));
  assert_ok(json_parse_file(fixture_path(fixture(), "evaluate/evaluation.json", path), 1 << 24, &document));
  assert_ok(json_array(document.root, "models", "evaluation", &models));
  assert_int_equal(models->count, 2);
  check_model(json_at(models, 0), 1, &scenes);
  check_model(json_at(models, 1), 2, &scenes);
  json_free(&document);
  scene_table_free(&scenes);
}

/* The numbers are those of the answers; the bytes the same on every layout; the two models differ. */
static void test_evaluation(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  char *texts[3] = {NULL};
  static const char *const names[] = {"evaluate/evaluation.json", "evaluate/answers_1.jsonl",
                                      "evaluate/answers_2.jsonl"};
  for (int tp = 1; tp <= 4; tp *= 2) {
    if (comm_size(world) % tp != 0) continue;
    assert_ok(fixture_run(fixture(), world, tp, input, evaluate_run));
    if (comm_rank(world) == 0) check_evaluation();
    for (int i = 0; i < 3; i++) {
      char *text;
      fixture_read(names[i], &text);
      if (tp > 1) assert_string_equal(text, texts[i]);
      memory_free(texts[i]);
      texts[i] = text;
    }
    assert_ok(comm_barrier(world));
  }
  assert_string_not_equal(texts[1], texts[2]);
  for (int i = 0; i < 3; i++)
    memory_free(texts[i]);
}

/* Answers for a judge elsewhere, of the model of &model; and a judge's replies. */
static void test_without_judge(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  char path[FILE_MAX_PATH], *text;
  static const char replies[] = "[{\"choices\": [{\"message\": {\"content\": \"Rating: 4\"}}]}]";
  if (comm_rank(world) == 0)
    assert_ok(file_replace(fixture_path(fixture(), "replies.json", path), replies, strlen(replies)));
  assert_ok(comm_barrier(world));
  assert_ok(fixture_run(fixture(), world, 1,
                        "&job task='evaluate' run_dir='@/plain' /\n&model base='@/model.h5' template='v1' /\n"
                        "&eval dataset='@/world/eval.h5' limit=3 replies='@/replies.json' /\n"
                        "&generate max_tokens=4 /\n",
                        evaluate_run));
  fixture_read("plain/evaluation.json", &text);
  assert_null(strstr(text, "rating"));
  assert_non_null(strstr(text, "\"questions\":3"));
  assert_non_null(strstr(text, "\"score\":4.0"));
  memory_free(text);
  fixture_read("plain/answers_1.jsonl", &text);
  assert_non_null(strstr(text, "\"answer\":"));
  memory_free(text);
  assert_ok(comm_barrier(world));
}

/* Scenes of another world: an error, and neither table nor answers are left. */
static void test_image_without_scene(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  char path[FILE_MAX_PATH], *text, *end;
  fixture_read("world/scenes.jsonl", &text);
  end = strchr(text, '\n');
  end[1] = '\0';
  if (comm_rank(world) == 0)
    assert_ok(file_replace(fixture_path(fixture(), "one.jsonl", path), text, strlen(text)));
  memory_free(text);
  assert_ok(comm_barrier(world));
  assert_error(fixture_run(fixture(), world, 1,
                           "&job task='evaluate' run_dir='@/none' /\n&model base='@/model.h5' /\n"
                           "&eval dataset='@/world/eval.h5' judge='shapes' scenes='@/one.jsonl' /\n"
                           "&generate max_tokens=4 /\n",
                           evaluate_run),
               STATUS_DATA);
  assert_false(file_exists(fixture_path(fixture(), "none/evaluation.json", path)));
  assert_false(file_exists(fixture_path(fixture(), "none/answers_1.jsonl", path)));
  assert_ok(comm_barrier(world));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_set_up),     cmocka_unit_test(test_evaluation),
      cmocka_unit_test(test_without_judge), cmocka_unit_test(test_image_without_scene),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
