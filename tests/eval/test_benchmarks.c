/* Benchmarks from files to files: the scores of golden answers are those that golden/make_benchmarks.py
 * computed by the published rules; questions are asked and answered in the forms of their graders. */
#include "eval/evaluation_test.h"

#include "base/base64.h"
#include "base/memory.h"
#include "eval/amber.h"
#include "eval/chair.h"
#include "eval/hallusion.h"
#include "eval/llava_bench.h"
#include "eval/mmbench.h"
#include "eval/mmhal.h"
#include "eval/pope.h"
#include "io/table.h"
#include "rollout/generate.h"

#define GOLDEN TEST_SOURCE_DIR "/eval/golden/"

static status_t run_evaluate(session_t *session) {
  static const judge_entry_t judges[] = {{"pope", pope_open},
                                         {"amber", amber_open},
                                         {"hallusionbench", hallusion_open},
                                         {"mmbench", mmbench_open},
                                         {"chair", chair_open},
                                         {"mmhal", mmhal_open},
                                         {"llava_bench", llava_bench_open}};
  session->judges = judges;
  session->judge_count = (int32_t)(sizeof judges / sizeof *judges);
  return evaluate_run(session);
}

/* Evaluates as the settings of &eval say, in folder RUN. */
static status_t evaluate_files(const char *run, const char *eval) {
  char text[1024];
  snprintf(text, sizeof text, "&job task='evaluate' run_dir='@/%s' /\n&eval %s /\n", run, eval);
  status_code_t status = fixture_run(fixture(), mpi_test_world(), 1, text, run_evaluate);
  status_code_t together = comm_barrier(mpi_test_world());
  return status != STATUS_OK ? status : together;
}

static status_t generate_as(const char *run, const char *generate) {
  char text[1024];
  snprintf(text, sizeof text,
           "&job task='generate' run_dir='@/%s' /\n&model base='@/model.h5' template='v1' /\n"
           "&data max_len=400 /\n&generate max_tokens=4 greedy=T %s /\n",
           run, generate);
  status_code_t status = fixture_run(fixture(), mpi_test_world(), 1, text, generate_run);
  status_code_t together = comm_barrier(mpi_test_world());
  return status != STATUS_OK ? status : together;
}

static void write_file(const char *name, const char *text) {
  char path[FILE_MAX_PATH];
  if (comm_rank(mpi_test_world()) == 0)
    assert_ok(file_replace(fixture_path(fixture(), name, path), text, strlen(text)));
  assert_ok(comm_barrier(mpi_test_world()));
}

/* ---- Golden scores ---- */

/* GOT has all numbers of EXPECTED. */
static void check_numbers(const json_t *got, const json_t *expected) {
  for (const json_t *member = expected->u.first; member; member = member->next) {
    const json_t *found = json_get(got, member->key);
    if (!found) print_error("no '%s'\n", member->key);
    assert_non_null(found);
    if (member->type == JSON_OBJECT)
      check_numbers(found, member);
    else
      check_real(got, member->key, member->type == JSON_INT ? (double)member->u.integer : member->u.real);
  }
}

/* The object KEY of the evaluation's one model is as the golden file says under NAME. */
static void check_golden(const char *run, const char *key, const char *name) {
  char file[128];
  json_document_t document, golden;
  const json_t *scores, *expected;
  snprintf(file, sizeof file, "%s/evaluation.json", run);
  const json_t *models = open_models(file, 1, &document);
  assert_ok(json_parse_file(GOLDEN "expected.json", 1 << 20, &golden));
  assert_ok(json_object(json_at(models, 0), key, "evaluation", &scores));
  assert_ok(json_object(golden.root, name, "golden", &expected));
  check_numbers(scores, expected);
  assert_non_null(json_get(scores, "rule"));
  json_free(&golden);
  json_free(&document);
  assert_ok(comm_barrier(mpi_test_world()));
}

static void test_golden_scores(void **state) {
  static const struct {
    const char *name, *key, *eval;
  } cases[] = {
      {"pope", "pope", "judge='pope' answers='" GOLDEN "pope.jsonl'"},
      {"pope_words", "pope", "judge='pope' yes_no='words' answers='" GOLDEN "pope.jsonl'"},
      {"pope_exact", "pope", "judge='pope' yes_no='exact' answers='" GOLDEN "pope.jsonl'"},
      {"amber", "amber",
       "judge='amber' annotations='" GOLDEN "amber_annotations.json' answers='" GOLDEN "amber.json'"},
      {"hallusion", "hallusion", "judge='hallusionbench' answers='" GOLDEN "hallusion.json'"},
      {"mmbench", "mmbench", "judge='mmbench' answers='" GOLDEN "mmbench.tsv'"},
      {"chair", "chair",
       "judge='chair' synonyms='" GOLDEN "chair_synonyms.txt' annotations='" GOLDEN
       "chair_instances.json', '" GOLDEN "chair_captions.json' answers='" GOLDEN "chair.jsonl'"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    print_message("%s\n", cases[i].name);
    assert_ok(evaluate_files(cases[i].name, cases[i].eval));
    check_golden(cases[i].name, cases[i].key, cases[i].name);
  }
  /* What was judged can be judged again. */
  assert_ok(evaluate_files("again", "judge='pope' answers='@/pope/answers_1.jsonl'"));
  check_golden("again", "pope", "pope");
}

/* Wrong data, of which the message says TEXT. */
static void expect_refused(const char *eval, const char *text) {
  assert_int_equal(evaluate_files("bad", eval), STATUS_DATA);
  if (comm_rank(mpi_test_world()) == 0 && !strstr(error_message(), text))
    fail_msg("'%s' is not in '%s'", text, error_message());
  error_clear();
}

#define REPLY(id, message)                                                                                   \
  "{\"custom_id\": \"" id "\", \"response\": {\"body\": {\"choices\": [{\"message\": " message "}]}}}\n"

static void test_refused(void **state) {
  (void)state;
  write_file("none.json", "[]");
  expect_refused("judge='pope' answers='@/none.json'", "holds no answers");
  expect_refused("judge='mmhal' replies='@/none.json'", "holds no replies");
  write_file("twice.jsonl", REPLY("attribute-0", "{\"content\": \"Rating: 3\"}")
                                REPLY("attribute-0", "{\"content\": \"Rating: 4\"}"));
  expect_refused("judge='mmhal' replies='@/twice.jsonl'", "'attribute-0' is there twice");
  write_file("failed.jsonl", "{\"custom_id\": \"attribute-0\", \"response\": null, \"error\": {\"message\": "
                             "\"over the limit\"}}\n");
  expect_refused("judge='mmhal' replies='@/failed.jsonl'", "over the limit");
  assert_error(evaluate_files("bad", "judge='amber' answers='" GOLDEN "amber.json'"), STATUS_INPUT);
  assert_error(evaluate_files("bad", "judge='pope' answers='" GOLDEN "chair.jsonl'"), STATUS_DATA);
  assert_error(evaluate_files("bad", "judge='none' answers='" GOLDEN "pope.jsonl'"), STATUS_INPUT);
  assert_error(evaluate_files("bad", "judge='pope' replies='" GOLDEN "pope.jsonl'"), STATUS_INPUT);
  assert_error(evaluate_files("bad", "judge='pope' answers='" GOLDEN "chair_captions.json'"), STATUS_DATA);
}

/* A question may have members that are called as answers are elsewhere: the answer is where generate has
 * written it, or where the benchmark's grader reads it. The truth is none. */
static void test_where_the_answer_is(void **state) {
  static const char *const members[] = {"caption", "response", "prediction", "model_answer",
                                        "model_prediction"};
  static const char *const ends[] = {"", ", \"model\": \"m\", \"stopped\": true"};
  char line[256];
  (void)state;
  for (size_t i = 0; i < 2 * sizeof members / sizeof *members; i++) {
    json_document_t document;
    const json_t *scores;
    snprintf(line, sizeof line,
             "{\"question_id\": 1, \"image\": \"a.jpg\", \"text\": \"Is there a dog?\", \"label\": \"yes\", "
             "\"%s\": \"No cat is here.\", \"answer\": \"Yes\"%s}\n",
             members[i / 2], ends[i % 2]);
    write_file("own.jsonl", line);
    assert_ok(evaluate_files("own", "judge='pope' answers='@/own.jsonl'"));
    const json_t *models = open_models("own/evaluation.json", 1, &document);
    assert_ok(json_object(json_at(models, 0), "pope", "evaluation", &scores));
    check_interval(scores, "accuracy", interval_share(1, 1));
    json_free(&document);
    assert_ok(comm_barrier(mpi_test_world()));
  }
  write_file("texts.jsonl", "{\"image_id\": \"6\", \"caption\": \"Nothing.\"}\n"); /* a number as text */
  assert_ok(evaluate_files("texts",
                           "judge='chair' synonyms='" GOLDEN "chair_synonyms.txt' annotations='" GOLDEN
                           "chair_instances.json' answers='@/texts.jsonl'"));
  write_file("truth.tsv", "index\tquestion\tA\tB\tanswer\n1\tWhich?\tone\ttwo\tB\n");
  expect_refused("judge='mmbench' answers='@/truth.tsv'", "'prediction'");
}

/* COCO's annotations that would make something else of objects, or nothing. */
static void test_chair_refused(void **state) {
  static const char *const bad[][2] = {
      {"{\"annotations\": [{\"image_id\": 1, \"category_id\": 3}]}", "has no name"},
      {"{\"annotations\": [{\"image_id\": 1, \"category_id\": 5000000000}], \"categories\": [{\"id\": "
       "705032704, \"name\": \"dog\"}]}",
       "category_id is 5000000000"},
      {"{\"annotations\": [{\"image_id\": 1, \"category_id\": 3}, {\"image_id\": 1, \"caption\": \"A "
       "dog\"}], \"categories\": [{\"id\": 3, \"name\": \"dog\"}]}",
       "captions among instances"},
      {"{\"annotations\": [], \"categories\": []}", "are empty"},
      {"{\"categories\": []}", "no member 'annotations'"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    write_file("bad.json", bad[i][0]);
    expect_refused("judge='chair' synonyms='" GOLDEN
                   "chair_synonyms.txt' annotations='@/bad.json' answers='" GOLDEN "chair.jsonl'",
                   bad[i][1]);
  }
}

/* ---- Judges elsewhere ---- */

static const char mmhal[] =
    "[{\"question_type\": \"attribute\", \"image_id\": \"1\", \"image_src\": "
    "\"https://a.org/b/000/000081.jpg\", "
    "\"image_content\": [\"a cat\", \"a mat\"], \"question\": \"What sits?\", \"gt_answer\": \"A cat.\", "
    "\"model_answer\": \"\"},\n"
    "{\"question_type\": \"adversarial\", \"image_id\": \"2\", \"image_src\": \"000081.jpg\", "
    "\"image_content\": [], \"question\": \"What lies?\", \"gt_answer\": \"A mat.\", \"model_answer\": \"A "
    "rug\"}]";

/* The request in line K: its id, and that its prompt holds all of TEXTS. */
static void check_request(json_reader_t *reader, const char *id, const char *const *texts) {
  json_element_t element;
  const json_t *body, *messages, *message = NULL;
  const char *content, *model;
  assert_true(next_answer(reader, &element));
  assert_string_equal(member(&element, "custom_id"), id);
  assert_ok(json_object(element.value, "body", "request", &body));
  assert_ok(json_string(body, "model", "request", &model));
  assert_string_equal(model, "judge-1");
  assert_ok(json_array(body, "messages", "request", &messages));
  for (const json_t *item = messages->u.first; item; item = item->next)
    message = item;
  assert_ok(json_string(message, "content", "request", &content));
  for (; *texts; texts++)
    assert_non_null(strstr(content, *texts));
}

static void test_requests(void **state) {
  (void)state;
  json_reader_t *reader;
  static const char *const first[] = {"a cat, a mat", "What sits?", "person: A cat.", NULL};
  static const char *const second[] = {"What lies?", "person: A mat.", "assistant: A rug", NULL};
  static const char *const bench[] = {"A suitcase.\nTwo.\n\nsuitcase: [0.5, 1, 0.25, 0.125]", "Color?", "Red",
                                      "Blue", NULL};
  write_file("mmhal.json", mmhal);
  assert_ok(evaluate_files("asked", "judge='mmhal' judge_model='judge-1' answers='@/mmhal.json'"));
  reader = open_answers("asked/requests_1.jsonl");
  check_request(reader, "attribute-0", first);
  check_request(reader, "adversarial-1", second);
  json_reader_close(reader);
  write_file("bench.jsonl",
             "{\"question_id\": 7, \"image\": \"a.jpg\", \"prompt\": \"Color?\", \"text\": \"Blue\", "
             "\"category\": \"conv\"}\n");
  write_file("context.jsonl",
             "{\"image\": \"a.jpg\", \"captions\": [\"A suitcase.\", \"Two.\"], \"instances\": "
             "[{\"category\": \"suitcase\", \"bbox\": [0.5, 1, 0.25, 0.125]}]}\n");
  write_file("reference.jsonl", "{\"question_id\": 7, \"text\": \"Red\"}\n");
  assert_ok(evaluate_files("bench", "judge='llava_bench' judge_model='judge-1' answers='@/bench.jsonl' "
                                    "annotations='@/context.jsonl' reference='@/reference.jsonl'"));
  reader = open_answers("bench/requests_1.jsonl");
  check_request(reader, "conv-0", bench);
  json_reader_close(reader);
  assert_ok(comm_barrier(mpi_test_world()));
}

static void test_replies(void **state) {
  (void)state;
  json_document_t document;
  const json_t *scores;
  write_file("replies.json", "[{\"choices\": [{\"message\": {\"content\": \"Rating: 4\"}}]}, "
                             "{\"choices\": [{\"message\": {\"content\": \"Rating: 1\"}}]}]");
  write_file("others.json", "[{\"choices\": [{\"message\": {\"content\": \"Rating: 6\"}}]}]");
  assert_ok(evaluate_files("heard", "judge='mmhal' replies='@/others.json', '@/replies.json'"));
  const json_t *models = open_models("heard/evaluation.json", 2, &document);
  assert_ok(json_object(json_at(models, 1), "mmhal", "evaluation", &scores));
  check_interval(scores, "score", interval_mean(2, 5, 17));
  check_interval(scores, "hallucination", interval_share(1, 2));
  json_free(&document);
  assert_ok(comm_barrier(mpi_test_world()));
}

/* ---- Questions and answers ---- */

/* MMBench's table of two questions of three and two options, whose image is the world's, once in base64 and
 * once by reference. */
static void write_mmbench(void) {
  char path[FILE_MAX_PATH];
  SCOPED_MEMORY char *bytes = NULL, *base64 = NULL, *table = NULL;
  size_t n;
  assert_ok(file_read(fixture_path(fixture(), "world/images/000/000081.jpg", path), 1 << 20, &bytes, &n));
  assert_ok(base64_encode(bytes, n, &base64));
  assert_ok(memory_alloc(&table, ARENA_OTHER, strlen(base64) + 512, 1));
  sprintf(table,
          "index\tquestion\thint\tA\tB\tC\tD\tanswer\timage\tl2-category\n"
          "5\tWhat \"is\" it?\tLook\tred\tgreen\tblue\t\tC\t%s\tlogic_reasoning\n"
          "6\t\"Which\none?\"\tnan\tthis\tthat\t\t\tA\t5\tcoarse_perception\n",
          base64);
  write_file("mmbench.tsv", table);
}

static void check_row(table_t *table, const char *index, const char *a, const char *answer) {
  bool more;
  assert_ok(table_next(table, &more));
  assert_true(more);
  assert_string_equal(table_field(table, table_find(table, "index")), index);
  assert_string_equal(table_field(table, table_find(table, "A")), a);
  assert_string_equal(table_field(table, table_find(table, "answer")), answer);
}

/* The copies of circular evaluation, as they were asked and as they are answered. */
static void check_mmbench(void) {
  char path[FILE_MAX_PATH];
  json_element_t element;
  table_t *table;
  json_reader_t *asked = open_answers("mmbench_run/questions.jsonl");
  assert_true(next_answer(asked, &element));
  assert_string_equal(member(&element, "text"),
                      "Look\nWhat \"is\" it?\nThere are several options:\nA. red\nB. green\nC. blue\n");
  assert_true(next_answer(asked, &element));
  assert_string_equal(member(&element, "text"),
                      "Look\nWhat \"is\" it?\nThere are several options:\nA. green\nB. blue\nC. red\n");
  assert_true(next_answer(asked, &element) && next_answer(asked, &element));
  assert_string_equal(member(&element, "text"),
                      "Which\none?\nThere are several options:\nA. this\nB. that\n");
  assert_string_equal(member(&element, "image"), "5.jpg");
  json_reader_close(asked);
  assert_ok(table_open(fixture_path(fixture(), "mmbench_run/answers.tsv", path), &table));
  assert_true(table_find(table, "image") < 0 && table_find(table, "prediction") == table_columns(table) - 1);
  check_row(table, "5", "red", "C");
  check_row(table, "1000005", "green", "B");
  check_row(table, "2000005", "blue", "A");
  check_row(table, "6", "this", "A");
  check_row(table, "1000006", "that", "B");
  table_close(table);
}

static void test_mmbench(void **state) {
  (void)state;
  json_document_t document;
  const json_t *scores, *types;
  write_mmbench();
  assert_ok(generate_as("mmbench_run", "dataset='@/mmbench.tsv' circular=T suffix=' Answer with a letter.'"));
  if (comm_rank(mpi_test_world()) == 0) check_mmbench();
  assert_ok(comm_barrier(mpi_test_world()));
  assert_ok(evaluate_files("mmbench_judged", "judge='mmbench' answers='@/mmbench_run/answers.tsv'"));
  const json_t *models = open_models("mmbench_judged/evaluation.json", 1, &document);
  assert_ok(json_object(json_at(models, 0), "mmbench", "evaluation", &scores));
  assert_ok(json_object(scores, "types", "evaluation", &types));
  assert_non_null(json_get(types, "logic_reasoning"));
  int64_t answers;
  assert_ok(json_int(scores, "accuracy_answers", "evaluation", &answers));
  assert_int_equal(answers, 5);
  assert_ok(json_int(scores, "circular_accuracy_answers", "evaluation", &answers));
  assert_int_equal(answers, 2);
  json_free(&document);
  assert_error(generate_as("mmbench_twice", "dataset='@/mmbench_run/answers.tsv' circular=T"), STATUS_DATA);
}

/* Nothing is said of circular evaluation where nobody asked for it. */
static void test_mmbench_without_copies(void **state) {
  (void)state;
  json_document_t document;
  const json_t *scores, *types, *type;
  write_file("plain.tsv", "index\tquestion\tA\tB\tanswer\tl2-category\tprediction\n"
                          "1\tWhich?\tthis\tthat\tA\tlogic_reasoning\tA\n"
                          "2\tWhich?\tthis\tthat\tA\tlogic_reasoning\tCannot determine the answer\n"
                          "3\tWhich?\tthis\tthat\tB\tlogic_reasoning\twhatever\n");
  assert_ok(evaluate_files("plain", "judge='mmbench' answers='@/plain.tsv'"));
  const json_t *models = open_models("plain/evaluation.json", 1, &document);
  assert_ok(json_object(json_at(models, 0), "mmbench", "evaluation", &scores));
  check_interval(scores, "accuracy", interval_share(1, 3));
  check_real(scores, "unread", 1); /* a refusal is wrong, but read */
  assert_null(json_get(scores, "circular_accuracy"));
  assert_ok(json_object(scores, "types", "evaluation", &types));
  assert_ok(json_object(types, "logic_reasoning", "evaluation", &type));
  assert_null(json_get(type, "circular_accuracy"));
  json_free(&document);
  assert_ok(comm_barrier(mpi_test_world()));
}

/* The one text of an answer that KEY holds, of element I of a JSON file. */
static void check_answered(const char *name, int64_t i, const char *key, const char *kept,
                           const char *value) {
  json_reader_t *reader = open_answers(name);
  json_element_t element;
  for (int64_t k = 0; k <= i; k++)
    assert_true(next_answer(reader, &element));
  assert_non_null(member(&element, key));
  if (kept) assert_string_equal(member(&element, kept), value);
  json_reader_close(reader);
}

static void test_forms(void **state) {
  (void)state;
  write_file("amber.json", "[{\"id\": 1, \"image\": \"000/000081.jpg\", \"query\": \"Is it?\"},\n"
                           "{\"id\": 2, \"image\": \"000/000081.jpg\", \"query\": \"Is it not?\"}]");
  write_file("hallusion.json",
             "[{\"category\": \"VS\", \"subcategory\": \"map\", \"visual_input\": \"0\", \"set_id\": \"0\", "
             "\"figure_id\": \"0\", \"question_id\": \"0\", \"question\": \"Is it?\", \"gt_answer\": \"1\", "
             "\"filename\": null}]");
  write_file("bench.jsonl", "{\"question_id\": 3, \"image\": \"000/000081.jpg\", \"text\": \"What?\", "
                            "\"category\": \"complex\"}\n");
  assert_ok(generate_as("form_mmhal", "dataset='@/mmhal.json' image_folder='@/world/images/000'"));
  check_answered("form_mmhal/answers.json", 1, "model_answer", "gt_answer", "A mat.");
  assert_ok(generate_as("form_amber", "dataset='@/amber.json' image_folder='@/world/images'"));
  check_answered("form_amber/answers.json", 1, "response", NULL, NULL);
  assert_ok(generate_as("form_hallusion", "dataset='@/hallusion.json' image_folder='@/world/images'"));
  check_answered("form_hallusion/answers.json", 0, "model_prediction", "subcategory", "map");
  assert_ok(generate_as("form_bench", "dataset='@/bench.jsonl' image_folder='@/world/images'"));
  check_answered("form_bench/answers.jsonl", 0, "text", "prompt", "What?");
  assert_ok(
      generate_as("form_lines", "dataset='@/bench.jsonl' image_folder='@/world/images' format='jsonl'"));
  check_answered("form_lines/answers.jsonl", 0, "answer", "text", "What?");
  write_file("chat.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"Why?\"}]}\n"
                           "{\"messages\": [{\"role\": \"user\", \"content\": \"How?\"}]}\n");
  assert_ok(generate_as("form_chat", "dataset='@/chat.jsonl'")); /* the elements' numbers are their ids */
  check_answered("form_chat/answers.jsonl", 1, "answer", NULL, NULL);
  assert_ok(comm_barrier(mpi_test_world()));
  assert_error(generate_as("form_bad", "dataset='@/amber.json' image_folder='@/world/images' circular=T"),
               STATUS_INPUT);
}

/* A model answers a benchmark's questions and is judged in one go. */
static void test_model_is_judged(void **state) {
  (void)state;
  json_document_t document;
  const json_t *scores;
  int64_t answers;
  write_file("truths.json", "[{\"id\": 1, \"type\": \"relation\", \"truth\": \"no\"}, "
                            "{\"id\": 2, \"type\": \"discriminative-attribute-state\", \"truth\": \"yes\"}]");
  static const char text[] =
      "&job task='evaluate' run_dir='@/answered' /\n&model base='@/model.h5' template='v1' /\n"
      "&eval dataset='@/amber.json' image_folder='@/world/images' judge='amber' annotations='@/truths.json' "
      "/\n"
      "&generate max_tokens=4 /\n";
  assert_ok(fixture_run(fixture(), mpi_test_world(), 1, text, run_evaluate));
  const json_t *models = open_models("answered/evaluation.json", 1, &document);
  assert_ok(json_object(json_at(models, 0), "amber", "evaluation", &scores));
  assert_ok(json_int(scores, "accuracy_answers", "evaluation", &answers));
  assert_int_equal(answers, 2);
  json_free(&document);
  check_answered("answered/answers_1.jsonl", 1, "response", "query", "Is it not?");
  assert_ok(comm_barrier(mpi_test_world()));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_set_up),
      cmocka_unit_test(test_golden_scores),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_where_the_answer_is),
      cmocka_unit_test(test_chair_refused),
      cmocka_unit_test(test_requests),
      cmocka_unit_test(test_replies),
      cmocka_unit_test(test_mmbench),
      cmocka_unit_test(test_mmbench_without_copies),
      cmocka_unit_test(test_forms),
      cmocka_unit_test(test_model_is_judged),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
