/* Task evaluate from files to files. */
#include "eval/evaluation_test.h"

#include "base/memory.h"
#include "eval/pope.h"
#include "shapes/scene_file.h"
#include "shapes/shapes_judge.h"

static const char input[] =
    "&job task='evaluate' run_dir='@/evaluate' /\n&model template='v1' /\n"
    "&eval models='@/model.h5', '@/adapted.h5' dataset='@/world/eval.h5' judge='shapes' "
    "scenes='@/world/scenes.jsonl' pope='@/world/pope.jsonl' pope_suffix=' Yes or no?' /\n"
    "&generate max_tokens=8 greedy=.false. temperature=3.0 /\n";

/* What the answers of a file come to, judged here. */
static void judge_file(const char *name, const scene_table_t *scenes, tally_t *tally) {
  json_reader_t *reader = open_answers(name);
  json_element_t element;
  while (next_answer(reader, &element)) {
    judgement_t judgement;
    verdict_t verdict = {0};
    int64_t rating;
    const scene_t *scene = scene_table_find(scenes, member(&element, "image"));
    judge_response(scene, member(&element, "text"), member(&element, "answer"), &judgement);
    assert_ok(json_int(element.value, "rating", "answer", &rating));
    assert_int_equal(rating, judgement.rating);
    shapes_verdict(&judgement, &verdict);
    tally_add(tally, &shapes_judge, &verdict);
  }
  json_reader_close(reader);
}

static void count_file(const char *name, tally_t *tally) {
  json_reader_t *reader = open_answers(name);
  json_element_t element;
  while (next_answer(reader, &element)) {
    verdict_t verdict = {0};
    classes_count(strcmp(member(&element, "label"), "yes") == 0,
                  pope_says_yes(text_view(member(&element, "answer"))) ? CLASS_POSITIVE : CLASS_NEGATIVE,
                  &verdict);
    tally_add(tally, &pope_judge, &verdict);
  }
  json_reader_close(reader);
}

/* The questions of all types are all questions. */
static void check_types(const json_t *model, const tally_t *tally) {
  const json_t *types;
  int64_t asked = 0;
  assert_ok(json_object(model, "types", "evaluation", &types));
  for (int t = 0; t < TYPE_COUNT; t++) {
    const ratio_sums_t *rating = &tally->of_type[t][SHAPES_RATING],
                       *wrong = &tally->of_type[t][SHAPES_HALLUCINATION];
    const json_t *type = json_get(types, question_type_name((question_type_t)t));
    assert_true((type != NULL) == (rating->answers > 0));
    if (!type) continue;
    check_interval(type, "rating", interval_mean(rating->answers, rating->parts, rating->parts_squared));
    check_interval(type, "hallucination", interval_share(wrong->parts, wrong->answers));
    asked += (int64_t)rating->answers;
  }
  assert_int_equal(asked, FIXTURE_QUESTIONS);
}

static void check_judged(const json_t *model, const tally_t *tally) {
  const ratio_sums_t *all = tally->all;
  check_interval(
      model, "rating",
      interval_mean(FIXTURE_QUESTIONS, all[SHAPES_RATING].parts, all[SHAPES_RATING].parts_squared));
  check_interval(model, "hallucination", interval_share(all[SHAPES_HALLUCINATION].parts, FIXTURE_QUESTIONS));
  check_interval(model, "open_hallucination",
                 interval_share(all[SHAPES_OPEN_HALLUCINATION].parts, all[SHAPES_OPEN_HALLUCINATION].wholes));
  check_interval(model, "claims_right", interval_ratio(&all[SHAPES_CLAIMS_RIGHT]));
  check_interval(model, "clean_claims_right", interval_ratio(&all[SHAPES_CLEAN_CLAIMS_RIGHT]));
  check_interval(model, "claims_absent", interval_ratio(&all[SHAPES_CLAIMS_ABSENT]));
  check_interval(model, "recall", interval_ratio(&all[SHAPES_RECALL]));
  check_interval(model, "words",
                 interval_mean(FIXTURE_QUESTIONS, all[SHAPES_WORDS].parts, all[SHAPES_WORDS].parts_squared));
  check_types(model, tally);
}

static void check_pope(const json_t *pope, const tally_t *tally) {
  static const char *const counts[] = {"TP", "FP", "TN", "FN"};
  static const char *const shares[] = {"accuracy", "precision", "recall", "f1", "yes_ratio"};
  for (int32_t m = CLASS_TRUE_POSITIVE; m <= CLASS_FALSE_NEGATIVE; m++)
    check_real(pope, counts[m], tally->all[m].parts);
  for (int32_t m = CLASS_ACCURACY; m <= CLASS_RATIO; m++)
    check_interval(pope, shares[m - CLASS_ACCURACY], tally_metric(tally, &pope_judge, m));
  assert_true(tally->all[CLASS_RECALL].wholes == FIXTURE_QUESTIONS);
}

static void check_model(const json_t *model, int k, const scene_table_t *scenes) {
  char name[64];
  tally_t judged = {0}, asked = {0};
  const json_t *pope;
  snprintf(name, sizeof name, "evaluate/answers_%d.jsonl", k);
  judge_file(name, scenes, &judged);
  assert_true(judged.all[SHAPES_RATING].answers == FIXTURE_QUESTIONS);
  check_judged(model, &judged);
  snprintf(name, sizeof name, "evaluate/pope_%d.jsonl", k);
  count_file(name, &asked);
  assert_ok(json_object(model, "pope", "evaluation", &pope));
  check_pope(pope, &asked);
}

static void check_evaluation(void) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  scene_table_t scenes;
  assert_ok(scene_table_read(fixture_path(fixture(), "world/scenes.jsonl", path), &scenes));
  const json_t *models = open_models("evaluate/evaluation.json", 2, &document);
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
    if (!mpi_test_fits(tp)) continue;
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

/* The first three questions are answered and not rated. */
static void check_unjudged(void) {
  json_document_t document;
  const json_t *models = open_models("plain/evaluation.json", 1, &document);
  int64_t number;
  assert_null(json_get(json_at(models, 0), "rating"));
  assert_ok(json_int(json_at(models, 0), "questions", "evaluation", &number));
  assert_int_equal(number, 3);
  json_free(&document);
  assert_int_equal(fixture_answers_differ("plain/answers_1.jsonl", "plain/answers_1.jsonl", &number), 0);
  assert_int_equal(number, 3);
}

/* Answers that nobody judges, of the model of &model. */
static void test_without_judge(void **state) {
  (void)state;
  comm_t *world = mpi_test_world();
  assert_ok(fixture_run(fixture(), world, 1,
                        "&job task='evaluate' run_dir='@/plain' /\n&model base='@/model.h5' template='v1' /\n"
                        "&eval dataset='@/world/eval.h5' limit=3 /\n&generate max_tokens=4 /\n",
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
  char text[1024];
  json_element_t element;
  snprintf(text, sizeof text,
           "{\"question_id\":1,\"text\":\"%s\",\"label\":\"yes\"}\n"
           "{\"question_id\":2,\"text\":\"%s\",\"label\":\"yes\"}\n",
           first, second);
  write_fixture("ids.jsonl", text);
  assert_ok(run_pope());
  json_reader_t *reader = open_answers("pope/pope_1.jsonl");
  for (int i = 0; i < 2; i++) {
    assert_true(next_answer(reader, &element));
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
  char text[2048];
  bool yes[2];
  json_document_t document;
  const json_t *pope;
  ask_two(first, second, yes);
  snprintf(text, sizeof text,
           "{\"question_id\":1,%s,\"label\":\"%s\",\"left_out\":true}\n"
           "{\"question_id\":1,\"text\":\"%s\",\"label\":\"%s\",\"answer\":\"an answer of before\"}\n"
           "{\"question_id\":2,\"text\":\"%s\",\"label\":\"%s\"}\n",
           unusable, yes[0] ? "no" : "yes", first, yes[0] ? "yes" : "no", second, yes[1] ? "yes" : "no");
  write_fixture("ids.jsonl", text);
  assert_ok(run_pope());
  const json_t *models = open_models("pope/evaluation.json", 1, &document);
  assert_ok(json_object(json_at(models, 0), "pope", "evaluation", &pope));
  check_real(pope, "accuracy", 1.0);
  json_free(&document);
  json_reader_t *reader = open_answers("pope/pope_1.jsonl");
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
