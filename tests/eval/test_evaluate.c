/* Task evaluate from files to files. */
#include "eval/evaluate.h"

#include "base/memory.h"
#include "eval/pope.h"
#include "io/json.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"
#include "shapes/judge.h"
#include "shapes/scene_file.h"
#include "text/answers.h"

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

/* KEY with its interval; an end that is not known is null. */
static void check_interval(const json_t *object, const char *key, interval_t expected) {
  char name[64];
  int64_t answers;
  check_real(object, key, expected.value);
  snprintf(name, sizeof name, "%s_answers", key);
  assert_ok(json_int(object, name, "evaluation", &answers));
  assert_int_equal(answers, expected.answers);
  for (int end = 0; end < 2; end++) {
    snprintf(name, sizeof name, end == 0 ? "%s_low" : "%s_high", key);
    if (isfinite(expected.low))
      check_real(object, name, end == 0 ? expected.low : expected.high);
    else
      assert_null(json_get(object, name)); /* null */
  }
}

/* The questions of all types are all questions. */
static void check_types(const json_t *model, const judge_table_t *table) {
  const json_t *types;
  int64_t asked = 0;
  assert_ok(json_object(model, "types", "evaluation", &types));
  for (int t = 0; t < TYPE_COUNT; t++) {
    const judge_row_t *row = &table->types[t];
    const json_t *type = json_get(types, question_type_name((question_type_t)t));
    assert_true((type != NULL) == (row->responses > 0));
    if (!type) continue;
    check_interval(type, "rating", interval_mean(row->responses, row->ratings, row->ratings_squared));
    check_interval(type, "hallucination", interval_share(row->hallucinated, row->responses));
    asked += (int64_t)row->responses;
  }
  assert_int_equal(asked, FIXTURE_QUESTIONS);
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
  check_real(model, "claims_absent", summary.claims_absent);
  check_interval(model, "rating",
                 interval_mean(table.all.responses, table.all.ratings, table.all.ratings_squared));
  check_interval(model, "hallucination", interval_share(table.all.hallucinated, table.all.responses));
  check_interval(model, "open_hallucination", interval_share(table.open.hallucinated, table.open.responses));
  check_interval(model, "claims_right", interval_ratio(&table.right));
  check_interval(model, "clean_claims_right", interval_ratio(&table.clean_right));
  check_interval(model, "claims_absent", interval_ratio(&table.absent));
  check_interval(model, "recall", interval_ratio(&table.given));
  check_interval(model, "words", interval_mean(table.all.responses, table.words, table.words_squared));
  check_types(model, &table);
  snprintf(name, sizeof name, "evaluate/pope_%d.jsonl", k);
  count_file(name, &counts);
  assert_ok(json_object(model, "pope", "evaluation", &pope));
  check_real(pope, "TP", (double)counts.true_positive);
  check_real(pope, "TN", (double)counts.true_negative);
  check_real(pope, "FP", (double)counts.false_positive);
  check_real(pope, "FN", (double)counts.false_negative);
  check_interval(pope, "accuracy", pope_scores(&counts).accuracy);
  check_interval(pope, "precision", pope_scores(&counts).precision);
  check_interval(pope, "recall", pope_scores(&counts).recall);
  check_interval(pope, "f1", pope_scores(&counts).f1);
  check_interval(pope, "yes_ratio", pope_scores(&counts).yes_ratio);
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
  int64_t count; /* the files differ in any case: they name their models */
  assert_true(fixture_answers_differ(names[1], names[2], &count) > 0);
  assert_int_equal(count, FIXTURE_QUESTIONS);
  for (int i = 0; i < 3; i++)
    memory_free(texts[i]);
}

/* The first three questions are answered and not rated; the mean of the one reply is its rating. */
static void check_unjudged(void) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  const json_t *models, *mmhal;
  int64_t number;
  assert_ok(json_parse_file(fixture_path(fixture(), "plain/evaluation.json", path), 1 << 24, &document));
  assert_ok(json_array(document.root, "models", "evaluation", &models));
  assert_int_equal(models->count, 1);
  assert_null(json_get(json_at(models, 0), "rating"));
  assert_ok(json_int(json_at(models, 0), "questions", "evaluation", &number));
  assert_int_equal(number, 3);
  assert_ok(json_object(document.root, "mmhal", "evaluation", &mmhal));
  assert_ok(json_int(mmhal, "replies", "evaluation", &number));
  assert_int_equal(number, 1);
  check_real(mmhal, "score", 4.0);
  json_free(&document);
  assert_int_equal(fixture_answers_differ("plain/answers_1.jsonl", "plain/answers_1.jsonl", &number), 0);
  assert_int_equal(number, 3);
}

/* Answers for a judge elsewhere, of the model of &model; and a judge's replies. */
static void test_without_judge(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  char path[FILE_MAX_PATH];
  static const char replies[] = "[{\"choices\": [{\"message\": {\"content\": \"Rating: 4\"}}]}]";
  if (comm_rank(world) == 0)
    assert_ok(file_replace(fixture_path(fixture(), "replies.json", path), replies, strlen(replies)));
  assert_ok(comm_barrier(world));
  assert_ok(fixture_run(fixture(), world, 1,
                        "&job task='evaluate' run_dir='@/plain' /\n&model base='@/model.h5' template='v1' /\n"
                        "&eval dataset='@/world/eval.h5' limit=3 replies='@/replies.json' /\n"
                        "&generate max_tokens=4 /\n",
                        evaluate_run));
  check_unjudged();
  assert_ok(comm_barrier(world));
}

/* ---- POPE ---- */

#define LONG "Is there a red circle in the image? Is there a green square? Is there a blue ring? "

static void write_fixture(const char *name, const char *text) {
  char path[FILE_MAX_PATH];
  if (comm_rank(mpi_test_world()) == 0)
    assert_ok(file_replace(fixture_path(fixture(), name, path), text, strlen(text)));
  assert_ok(comm_barrier(mpi_test_world()));
}

static status_t run_pope(void) {
  status_code_t status = fixture_run(
      fixture(), mpi_test_world(), 1,
      "&job task='evaluate' run_dir='@/pope' /\n&model base='@/model.h5' template='v1' /\n"
      "&data max_len=90 bad_sample='skip' /\n"
      "&eval dataset='@/world/eval.h5' limit=3 pope='@/ids.jsonl' image_folder='@/world/images' /\n"
      "&generate max_tokens=4 greedy=.true. /\n",
      evaluate_run);
  status_code_t together = comm_barrier(mpi_test_world());
  return status != STATUS_OK ? status : together;
}

/* Whether the model says yes to each of two questions. */
static void ask_two(const char *first, const char *second, bool says_yes[2]) {
  char text[1024], path[FILE_MAX_PATH];
  json_reader_t *reader;
  json_element_t element;
  snprintf(text, sizeof text,
           "{\"question_id\":1,\"text\":\"%s\",\"label\":\"yes\"}\n"
           "{\"question_id\":2,\"text\":\"%s\",\"label\":\"yes\"}\n",
           first, second);
  write_fixture("ids.jsonl", text);
  assert_ok(run_pope());
  assert_ok(json_reader_open(fixture_path(fixture(), "pope/pope_1.jsonl", path), JSON_ELEMENTS, &reader));
  for (int i = 0; i < 2; i++) {
    assert_ok(json_reader_next(reader, &element));
    says_yes[i] = pope_says_yes(text_view(member(&element, "answer")));
  }
  json_reader_close(reader);
  assert_ok(comm_barrier(mpi_test_world()));
}

static void check_member(json_reader_t *reader, int64_t id, const char *text) {
  json_element_t element;
  int64_t found;
  assert_ok(json_reader_next(reader, &element));
  assert_ok(json_int(element.value, "question_id", "answer", &found));
  assert_int_equal(found, id);
  assert_string_equal(member(&element, "text"), text);
  assert_null(json_get(element.value, "left_out"));
  assert_string_not_equal(member(&element, "answer"), "an answer of before");
}

/* Three questions of which the first, with the id of the second, cannot be asked; the labels of the others
 * are what the model says. */
static void check_repeated_ids(const char *unusable) {
  static const char first[] = "Is there a ring?", second[] = "Is there a red square?";
  char text[2048], path[FILE_MAX_PATH];
  bool yes[2];
  json_document_t document;
  json_reader_t *reader;
  const json_t *models, *pope;
  ask_two(first, second, yes);
  snprintf(text, sizeof text,
           "{\"question_id\":1,%s,\"label\":\"%s\",\"left_out\":true}\n"
           "{\"question_id\":1,\"text\":\"%s\",\"label\":\"%s\",\"answer\":\"an answer of before\"}\n"
           "{\"question_id\":2,\"text\":\"%s\",\"label\":\"%s\"}\n",
           unusable, yes[0] ? "no" : "yes", first, yes[0] ? "yes" : "no", second, yes[1] ? "yes" : "no");
  write_fixture("ids.jsonl", text);
  assert_ok(run_pope());
  assert_ok(json_parse_file(fixture_path(fixture(), "pope/evaluation.json", path), 1 << 24, &document));
  assert_ok(json_array(document.root, "models", "evaluation", &models));
  assert_ok(json_object(json_at(models, 0), "pope", "evaluation", &pope));
  check_real(pope, "accuracy", 1.0);
  json_free(&document);
  assert_ok(json_reader_open(fixture_path(fixture(), "pope/pope_1.jsonl", path), JSON_ELEMENTS, &reader));
  check_member(reader, 1, first);
  check_member(reader, 2, second);
  json_reader_close(reader);
  assert_ok(comm_barrier(mpi_test_world()));
}

static void test_repeated_ids(void **state) {
  (void)state;
  check_repeated_ids("\"text\":\"" LONG LONG LONG LONG "\"");
  check_repeated_ids("\"image\":\"nowhere.jpg\",\"text\":\"Is there a ring?\"");
}

/* A label that is none is found before the first answer, as is a model that is not there. */
static void test_found_first(void **state) {
  (void)state;
  char path[FILE_MAX_PATH];
  write_fixture("ids.jsonl", "{\"question_id\":1,\"text\":\"Is there a ring?\",\"label\":\"yes\"}\n"
                             "{\"question_id\":2,\"text\":\"Is there a ring?\",\"label\":\"maybe\"}\n");
  if (comm_rank(mpi_test_world()) == 0) remove(fixture_path(fixture(), "pope/answers_1.jsonl", path));
  assert_error(run_pope(), STATUS_DATA);
  assert_false(file_exists(fixture_path(fixture(), "pope/answers_1.jsonl", path)));
  assert_error(fixture_run(fixture(), mpi_test_world(), 1,
                           "&job task='evaluate' run_dir='@/absent' /\n&model template='v1' /\n"
                           "&eval models='@/model.h5', '@/nowhere.h5' dataset='@/world/eval.h5' limit=2 /\n"
                           "&generate max_tokens=4 /\n",
                           evaluate_run),
               STATUS_DATA);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_false(file_exists(fixture_path(fixture(), "absent/answers_1.jsonl", path)));
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
      cmocka_unit_test(test_repeated_ids),  cmocka_unit_test(test_found_first),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
