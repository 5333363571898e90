/* Task generate from files to files. */
#include "rollout/generate.h"

#include "base/memory.h"
#include "io/json.h"
#include "mpi_test.h"
#include "rollout/task_fixture.h"
#include "shapes/annotate.h"

#include <string.h>

static bool has_file(const char *name) {
  char path[FILE_MAX_PATH];
  return file_exists(fixture_path(fixture(), name, path));
}

static status_t generate(int tp, const char *input) {
  status_code_t status = fixture_run(fixture(), mpi_test_world(), tp, input, generate_run);
  status_code_t together = comm_barrier(mpi_test_world());
  return status != STATUS_OK ? status : together;
}

static const char pope_input[] = "&job task='generate' run_dir='@/pope' /\n&model base='@/model.h5' /\n"
                                 "&generate dataset='@/world/pope.jsonl' max_tokens=6 /\n";

/* Every question in its order, with all its members, and an answer. */
static void check_answers(const char *name, const char *questions) {
  char path[FILE_MAX_PATH], asked[FILE_MAX_PATH];
  json_reader_t *answers, *wanted;
  json_element_t answer, question;
  assert_ok(json_reader_open(fixture_path(fixture(), name, path), JSON_ELEMENTS, &answers));
  assert_ok(json_reader_open(fixture_path(fixture(), questions, asked), JSON_ELEMENTS, &wanted));
  for (;;) {
    assert_ok(json_reader_next(answers, &answer));
    assert_ok(json_reader_next(wanted, &question));
    if (!question.value) break;
    assert_non_null(answer.value);
    int64_t id, expected;
    const char *text, *label;
    assert_ok(json_int(question.value, "question_id", "question", &expected));
    assert_ok(json_int(answer.value, "question_id", "answer", &id));
    assert_int_equal(id, expected);
    assert_ok(json_string(answer.value, "answer", "answer", &text));
    assert_ok(json_string(answer.value, "label", "answer", &label));
    assert_ok(json_string(answer.value, "model", "answer", &text));
    assert_string_equal(text, fixture_path(fixture(), "model.h5", path));
  }
  assert_null(answer.value);
  json_reader_close(answers);
  json_reader_close(wanted);
}

static void test_json_questions(void **state) {
  (void)state;
  assert_ok(generate(1, pope_input));
  if (comm_rank(mpi_test_world()) == 0) check_answers("pope/answers.jsonl", "world/pope.jsonl");
  assert_false(has_file("pope/answers.jsonl.partial"));
}

/* SAMPLES answers to each question, one behind the other, which are numbered and not all the same. */
static void check_samples(const char *name, int64_t samples) {
  char path[FILE_MAX_PATH], first[512] = "", asked[128] = "";
  json_reader_t *reader;
  json_element_t element;
  int64_t i = 0, others = 0;
  assert_ok(json_reader_open(fixture_path(fixture(), name, path), JSON_ELEMENTS, &reader));
  for (;; i++) {
    int64_t sample;
    const char *text, *id;
    assert_ok(json_reader_next(reader, &element));
    if (!element.value) break;
    assert_ok(json_int(element.value, "sample", "answer", &sample));
    assert_int_equal(sample, i % samples);
    assert_ok(json_string(element.value, "question_id", "answer", &id));
    assert_ok(json_string(element.value, "answer", "answer", &text));
    if (sample > 0) assert_string_equal(id, asked);
    if (sample > 0) others += strcmp(text, first) != 0;
    if (sample == 0) snprintf(first, sizeof first, "%s", text);
    if (sample == 0) snprintf(asked, sizeof asked, "%s", id);
  }
  assert_int_equal(i, samples * FIXTURE_QUESTIONS);
  assert_true(others > i / 2);
  json_reader_close(reader);
}

/* The same bytes on every layout that this number of ranks allows, dealt by queue or in advance. */
static void test_layouts_agree(void **state) {
  (void)state;
  static const char input[] =
      "&job task='generate' run_dir='@/layout' deterministic=%s /\n&model base='@/model.h5' /\n"
      "&rollout slots=%d page=%d /\n"
      "&generate dataset='@/world/eval.h5' max_tokens=6 samples=3 temperature=2.0 top_k=20 /\n";
  char filled[512], *first = NULL;
  for (int tp = 1; tp <= 4; tp *= 2) {
    if (!mpi_test_fits(tp)) continue;
    snprintf(filled, sizeof filled, input, tp == 1 ? ".true." : ".false.", 3 * tp, 5 * tp);
    assert_ok(generate(tp, filled));
    char *text;
    fixture_read("layout/answers.jsonl", &text);
    if (first) assert_string_equal(text, first);
    if (first) memory_free(text);
    if (!first) first = text;
    assert_ok(comm_barrier(mpi_test_world()));
  }
  memory_free(first);
  check_samples("layout/answers.jsonl", 3);
}

/* One process alone gives the bytes that all together give. */
static void test_one_rank_agrees(void **state) {
  (void)state;
  comm_t *world = mpi_test_world(), *self;
  char *all;
  fixture_read("layout/answers.jsonl", &all);
  assert_ok(comm_split(world, comm_rank(world), 0, "self", &self));
  if (comm_rank(world) == 0) {
    assert_ok(
        fixture_run(fixture(), self, 1,
                    "&job task='generate' run_dir='@/alone' /\n&model base='@/model.h5' /\n"
                    "&generate dataset='@/world/eval.h5' max_tokens=6 samples=3 temperature=2.0 top_k=20 /\n",
                    generate_run));
    char *one;
    fixture_read("alone/answers.jsonl", &one);
    assert_string_equal(one, all);
    memory_free(one);
  }
  memory_free(all);
  comm_free(self);
  assert_ok(comm_barrier(world));
}

static void test_pairs_can_be_annotated(void **state) {
  (void)state;
  assert_ok(generate(1, "&job task='generate' run_dir='@/pairs' /\n&model base='@/model.h5' /\n"
                        "&generate dataset='@/world/prompts.h5' output='@/new/folder/pairs.json' samples=2 "
                        "max_tokens=6 /\n"));
  if (comm_rank(mpi_test_world()) == 0) {
    char pairs[FILE_MAX_PATH], scenes[FILE_MAX_PATH], output[FILE_MAX_PATH];
    const annotator_t annotator = {.seed = 1};
    annotation_counts_t counts;
    json_document_t document;
    assert_ok(annotate_file(&annotator, fixture_path(fixture(), "new/folder/pairs.json", pairs),
                            fixture_path(fixture(), "world/scenes.jsonl", scenes),
                            fixture_path(fixture(), "annotated.json", output), &counts));
    assert_int_equal(counts.pairs, FIXTURE_QUESTIONS);
    assert_ok(json_parse_file(pairs, 1 << 24, &document));
    const json_t *pair = document.root->u.first, *conversations, *one;
    assert_null(json_get(pair, "preference"));
    assert_ok(json_array(pair, "conversations", "pair", &conversations));
    assert_int_equal(conversations->count, 2);
    assert_ok(json_object(pair, "output_1", "pair", &one));
    json_free(&document);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

/* The adapter of a file that refers to its base answers, and otherwise than the base alone. */
static void test_adapter(void **state) {
  (void)state;
  static const char input[] = "&job task='generate' run_dir='@/of_%s' /\n&model base='@/%s.h5' /\n"
                              "&generate dataset='@/world/eval.h5' greedy=.true. max_tokens=6 /\n";
  static const char *const models[] = {"model", "adapted"};
  for (int m = 0; m < 2; m++) {
    char filled[512];
    snprintf(filled, sizeof filled, input, models[m], models[m]);
    assert_ok(generate(1, filled));
  }
  int64_t count;
  assert_true(fixture_answers_differ("of_model/answers.jsonl", "of_adapted/answers.jsonl", &count) > 0);
  assert_int_equal(count, FIXTURE_QUESTIONS);
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Answers of the model to the questions under SETTINGS, in folder RUN. */
static void answer_under(const char *run, const char *job, const char *settings) {
  char filled[512];
  snprintf(filled, sizeof filled,
           "&job task='generate' run_dir='@/%s' %s /\n&model base='@/model.h5' /\n"
           "&generate dataset='@/world/eval.h5' %s /\n",
           run, job, settings);
  assert_ok(generate(1, filled));
}

/* The likeliest token alone leaves nothing to the seed, however that comes about. */
static void test_sampling_is_as_set(void **state) {
  static const struct {
    const char *settings;
    bool free; /* the seed chooses */
  } ways[] = {{"max_tokens=6 top_k=1", false},
              {"max_tokens=6 top_p=1e-6", false},
              {"max_tokens=6 temperature=1e-6", false},
              {"max_tokens=6 greedy=F", true}};
  (void)state;
  answer_under("greedy", "seed=1", "max_tokens=6 greedy=T");
  for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
    int64_t count;
    answer_under("way", "seed=1", ways[w].settings);
    answer_under("other_seed", "seed=2", ways[w].settings);
    assert_int_equal(fixture_answers_differ("way/answers.jsonl", "greedy/answers.jsonl", &count) > 0,
                     ways[w].free);
    assert_int_equal(fixture_answers_differ("way/answers.jsonl", "other_seed/answers.jsonl", &count) > 0,
                     ways[w].free);
    assert_int_equal(count, FIXTURE_QUESTIONS);
    assert_ok(comm_barrier(mpi_test_world()));
  }
}

/* The same answers, but for what comes after a question mark. */
static void test_answers_stop_at_a_question(void **state) {
  char path[FILE_MAX_PATH];
  json_reader_t *whole, *cut;
  const char *all, *text;
  int shorter = 0;
  (void)state;
  answer_under("whole", "", "max_tokens=64 temperature=9");
  answer_under("cut", "", "max_tokens=64 temperature=9 stop_at_question=T");
  assert_ok(json_reader_open(fixture_path(fixture(), "whole/answers.jsonl", path), JSON_ELEMENTS, &whole));
  assert_ok(json_reader_open(fixture_path(fixture(), "cut/answers.jsonl", path), JSON_ELEMENTS, &cut));
  while (fixture_next_answer(whole, &all) && fixture_next_answer(cut, &text)) {
    size_t n = strlen(text);
    assert_true(n <= strlen(all));
    assert_memory_equal(text, all, n);
    if (n == strlen(all)) continue;
    assert_true(n > 0 && text[n - 1] == '?');
    shorter++;
  }
  json_reader_close(whole);
  json_reader_close(cut);
  assert_true(shorter > 0);
  assert_ok(comm_barrier(mpi_test_world()));
}

#define LONG "Is there a red circle in the image? Is there a green square? Is there a blue ring? "

static void write_questions(const char *text) {
  char path[FILE_MAX_PATH];
  if (comm_rank(mpi_test_world()) == 0)
    assert_ok(file_replace(fixture_path(fixture(), "questions.json", path), text, strlen(text)));
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Too long ones are dropped; bad ones too where that is allowed; the others keep their order and answers. */
static void test_dropped_questions(void **state) {
  (void)state;
  write_questions("[{\"id\": \"a\", \"text\": \"What is in the image?\", \"kind\": 1},\n"
                  "{\"id\": \"b\", \"text\": \"" LONG LONG LONG LONG "\"},\n"
                  "{\"id\": \"c\", \"image\": \"nowhere.jpg\", \"text\": \"Describe the image.\"},\n"
                  "{\"id\": \"d\", \"text\": \"Describe the image.\", \"kind\": [2]}]\n");
  static const char input[] =
      "&job task='generate' run_dir='@/dropped' /\n&model base='@/model.h5' /\n&data max_len=%d "
      "bad_sample='%s' /\n&generate dataset='@/questions.json' image_folder='@/world/images' max_tokens=3 "
      "/\n";
  char filled[512];
  snprintf(filled, sizeof filled, input, 200, "stop");
  assert_error(generate(1, filled), STATUS_DATA);
  assert_false(has_file("dropped/answers.jsonl"));
  assert_false(has_file("dropped/answers.jsonl.partial"));
  snprintf(filled, sizeof filled, input, 90, "skip");
  assert_ok(generate(1, filled));
  char *text;
  fixture_read("dropped/answers.jsonl", &text);
  const char *a = strstr(text, "{\"id\":\"a\""), *d = strstr(text, "{\"id\":\"d\"");
  assert_true(a == text);
  assert_non_null(d);
  assert_true(d > a);
  assert_non_null(strstr(d, "\"kind\":[2]"));
  assert_null(strstr(text, "\"id\":\"b\""));
  assert_null(strstr(text, "\"id\":\"c\""));
  memory_free(text);
  assert_ok(comm_barrier(mpi_test_world()));
  snprintf(filled, sizeof filled, input, 5, "skip");
  assert_error(generate(1, filled), STATUS_DATA);
}

static void check_answer(json_reader_t *reader, const char *id, const char *text, int64_t kind) {
  json_element_t element;
  const char *found;
  int64_t number;
  int answers = 0;
  assert_ok(json_reader_next(reader, &element));
  assert_non_null(element.value);
  assert_ok(json_string(element.value, "id", "answer", &found));
  assert_string_equal(found, id);
  assert_ok(json_string(element.value, "text", "answer", &found));
  assert_string_equal(found, text);
  assert_ok(json_int(element.value, "kind", "answer", &number));
  assert_int_equal(number, kind);
  for (const json_t *member = element.value->u.first; member; member = member->next)
    answers += strcmp(member->key, "answer") == 0;
  assert_int_equal(answers, 1);
  assert_ok(json_string(element.value, "answer", "answer", &found));
  assert_string_not_equal(found, "an answer of before");
}

/* Answers stand beside their own questions where ids are repeated and the first of them is left out. */
static void test_repeated_ids(void **state) {
  (void)state;
  static const char *const unusable[] = {"\"text\": \"" LONG LONG LONG LONG "\"",
                                         "\"image\": \"nowhere.jpg\", \"text\": \"Describe the image.\""};
  for (int i = 0; i < 2; i++) {
    char text[2048], path[FILE_MAX_PATH];
    json_reader_t *reader;
    json_element_t element;
    snprintf(text, sizeof text,
             "[{\"id\": \"1\", %s, \"kind\": 1},\n"
             "{\"id\": \"1\", \"text\": \"What is it?\", \"kind\": 2, \"answer\": \"an answer of before\"},\n"
             "{\"id\": \"2\", \"text\": \"Where?\", \"kind\": 3}]\n",
             unusable[i]);
    write_questions(text);
    assert_ok(generate(1, "&job task='generate' run_dir='@/ids' /\n&model base='@/model.h5' /\n"
                          "&data max_len=90 bad_sample='skip' /\n&generate dataset='@/questions.json' "
                          "image_folder='@/world/images' max_tokens=3 /\n"));
    assert_ok(json_reader_open(fixture_path(fixture(), "ids/answers.jsonl", path), JSON_ELEMENTS, &reader));
    check_answer(reader, "1", "What is it?", 2);
    check_answer(reader, "2", "Where?", 3);
    assert_ok(json_reader_next(reader, &element));
    assert_null(element.value);
    json_reader_close(reader);
    assert_ok(comm_barrier(mpi_test_world()));
  }
}

static void test_one_question(void **state) {
  (void)state;
  assert_ok(generate(1, "&job task='generate' run_dir='@/single' /\n&model base='@/model.h5' /\n"
                        "&generate image='@/world/images/000/000002.jpg' prompt='What is in the image?' "
                        "max_tokens=3 /\n"));
  char *text;
  fixture_read("single/answers.jsonl", &text);
  json_document_t document;
  const char *member;
  assert_ok(json_parse(text, strcspn(text, "\n"), "answer", &document));
  assert_ok(json_string(document.root, "image", "answer", &member));
  assert_string_equal(member, "000002.jpg");
  assert_ok(json_string(document.root, "text", "answer", &member));
  assert_string_equal(member, "What is in the image?");
  assert_ok(json_string(document.root, "answer", "answer", &member));
  json_free(&document);
  /* The image may be a link; its answer is that to the image. */
  char link[FILE_MAX_PATH], *linked;
  fixture_path(fixture(), "link.jpg", link);
  if (comm_rank(mpi_test_world()) == 0) assert_int_equal(symlink("world/images/000/000002.jpg", link), 0);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(generate(1, "&job task='generate' run_dir='@/linked' /\n&model base='@/model.h5' /\n"
                        "&generate image='@/link.jpg' prompt='What is in the image?' max_tokens=3 /\n"));
  fixture_read("linked/answers.jsonl", &linked);
  assert_non_null(strstr(linked, "\"image\":\"link.jpg\""));
  assert_string_equal(strstr(linked, "\"answer\":"), strstr(text, "\"answer\":"));
  memory_free(linked);
  memory_free(text);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_set_up),
      cmocka_unit_test(test_json_questions),
      cmocka_unit_test(test_layouts_agree),
      cmocka_unit_test(test_one_rank_agrees),
      cmocka_unit_test(test_pairs_can_be_annotated),
      cmocka_unit_test(test_adapter),
      cmocka_unit_test(test_sampling_is_as_set),
      cmocka_unit_test(test_answers_stop_at_a_question),
      cmocka_unit_test(test_dropped_questions),
      cmocka_unit_test(test_repeated_ids),
      cmocka_unit_test(test_one_question),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
