/* Questions answered by letter, by a model whose answers are known: its last hidden state is the same
 * everywhere, the likeliest token is none of the letters, and of the letters each is likelier than the one
 * before. */
#include "eval/evaluation_test.h"

#include "base/memory.h"
#include "eval/mmbench.h"
#include "rollout/generate.h"
#include "rollout/letters.h"
#include "session/models.h"
#include "text/sentencepiece.h"

enum { HIDDEN = 32, VOCAB_SIZE = 340, MOST_OPTIONS = MMBENCH_OPTIONS };

/* Logits, in parts of the hidden state: of letter K (K + 1) STEP, of one other token OTHER, else 0. */
static const double step = 0.1, other = 1.0;

static struct {
  int64_t vocab;
  double state, logsum; /* the element of the hidden state that is not 0; of all logits */
} known;

/* ---- The model ---- */

static bool next_letters(void *context, const char **text, size_t *n) {
  int *left = context;
  *text = "A B C D A. B. C. D. a chat between a user and an assistant: answers to questions, options";
  *n = strlen(*text);
  return (*left)-- > 0;
}

static void write_tokenizer(void) {
  char path[FILE_MAX_PATH];
  tokenizer_t *tokenizer;
  int left = 20;
  size_t n;
  const tokenizer_training_t training = {.vocab_size = VOCAB_SIZE, .byte_fallback = true};
  if (comm_rank(mpi_test_world()) == 0) {
    assert_ok(tokenizer_train(&training, next_letters, &left, &tokenizer));
    const void *bytes = tokenizer_bytes(tokenizer, &n);
    assert_ok(file_write(fixture_path(fixture(), "letters.model", path), bytes, n));
    tokenizer_free(tokenizer);
  }
  assert_ok(comm_barrier(mpi_test_world()));
}

/* All rows of a matrix (ROWS, HIDDEN) are 0 but for their first elements. */
static status_t write_first_column(params_t *params, int32_t id, const double *column) {
  SCOPED_MEMORY float *values = NULL;
  const int64_t rows = params->items[id].shape[0];
  TRY(memory_alloc(&values, ARENA_OTHER, (size_t)(rows * HIDDEN), sizeof *values));
  for (int64_t r = 0; r < rows; r++)
    values[r * HIDDEN] = (float)column[r];
  return param_write(params, id, DTYPE_F32, values);
}

/* Attention and MLP add nothing, so the last hidden state is that of any embedding, normalised. */
static status_t know_model(model_t *model) {
  static double embedded[VOCAB_SIZE + 64], logits[VOCAB_SIZE + 64];
  params_t *params = &model->base.params;
  int32_t tokens[MMBENCH_OPTIONS];
  const double size = 8.0;
  known.vocab = model->base.config.vocab;
  assert_true(known.vocab <= VOCAB_SIZE + 64);
  TRY(letters_tokens(model->tokenizer, TEMPLATE_V1, tokens));
  for (int64_t t = 0; t < known.vocab; t++)
    embedded[t] = size;
  logits[tokens[0] == 300 ? 301 : 300] = other;
  for (int k = 0; k < MMBENCH_OPTIONS; k++)
    logits[tokens[k]] = (k + 1) * step;
  for (int32_t id = 0; id < params->count; id++) {
    const char *name = params->items[id].name;
    if (strstr(name, "embed_tokens")) TRY(write_first_column(params, id, embedded));
    if (strstr(name, "lm_head")) TRY(write_first_column(params, id, logits));
    if (!strstr(name, "model.layers") || (!strstr(name, "o_proj") && !strstr(name, "down_proj"))) continue;
    SCOPED_MEMORY float *zeros = NULL;
    TRY(memory_alloc(&zeros, ARENA_OTHER, (size_t)params->items[id].elements, sizeof *zeros));
    TRY(param_write(params, id, DTYPE_F32, zeros));
  }
  known.state = size / sqrt(size * size / HIDDEN + model->base.config.norm_eps);
  double sum = 0.0;
  for (int64_t t = 0; t < known.vocab; t++)
    sum += exp((double)(float)logits[t] * known.state);
  known.logsum = log(sum);
  return STATUS_OK;
}

static status_t write_known(session_t *session, model_t *model) {
  char path[FILE_MAX_PATH];
  store_contents_t contents = {0};
  TRY(know_model(model));
  model_contents(model, true, &contents);
  TRY(session_path(session, "../known.h5", path));
  return store_write(session->world, path, &contents);
}

static status_t make_known(session_t *session) {
  model_t model;
  TRY(model_new(session, &model));
  status_code_t status = write_known(session, &model);
  model_free(&model);
  return status;
}

/* ---- Questions ---- */

static const char table[] = "index\tquestion\tA\tB\tC\tD\tanswer\timage_path\n"
                            "1\tWhich of four?\tone\ttwo\tthree\tfour\tD\t000/000081.jpg\n"
                            "2\tWhich of three?\tone\ttwo\tthree\t\tA\t000/000081.jpg\n"
                            "3\tWhich of two?\tone\ttwo\t\t\tB\t000/000081.jpg\n";

static void set_up_known(void **state) {
  char path[FILE_MAX_PATH];
  fixture_set_up(state);
  write_tokenizer();
  assert_ok(fixture_run(
      fixture(), mpi_test_world(), 1,
      "&job task='pretrain' run_dir='@/make_known' /\n"
      "&model from_scratch=.true. tokenizer='@/letters.model' template='v1' train='all' hidden=32 "
      "layers=2 heads=4 mlp=48 vision_image_size=48 vision_patch=16 vision_hidden=32 vision_layers=2 "
      "vision_heads=2 vision_mlp=48 vision_feature_layer=-1 projector='linear' /\n"
      "&data dataset='none' /\n",
      make_known));
  if (comm_rank(mpi_test_world()) == 0)
    assert_ok(file_write(fixture_path(fixture(), "letters.tsv", path), table, sizeof table - 1));
  assert_ok(comm_barrier(mpi_test_world()));
}

static status_t letters_generate(const char *run, const char *base, const char *generate) {
  char text[1024];
  const int tp = comm_size(mpi_test_world()) % 2 == 0 ? 2 : 1;
  snprintf(text, sizeof text,
           "&job task='generate' run_dir='@/%s' /\n&model base='@/%s' template='v1' /\n&data max_len=600 /\n"
           "&generate image_folder='@/world/images' %s /\n",
           run, base, generate);
  status_code_t status = fixture_run(fixture(), mpi_test_world(), tp, text, generate_run);
  status_code_t together = comm_barrier(mpi_test_world());
  return status != STATUS_OK ? status : together;
}

/* The likeliest of the letters that each question offers is its last one. */
static void test_answers_are_letters(void **state) {
  json_element_t element;
  double logprob;
  int64_t tokens;
  (void)state;
  assert_ok(letters_generate(
      "letters", "known.h5",
      "dataset='@/letters.tsv' letters=T format='jsonl' logprobs=T suffix=' Say a letter.'"));
  json_reader_t *reader = open_answers("letters/answers.jsonl");
  for (int offered = MOST_OPTIONS; offered >= 2; offered--) {
    const char letter[] = {(char)('A' + offered - 1), '\0'};
    assert_true(next_answer(reader, &element));
    assert_string_equal(member(&element, "prediction"), letter);
    assert_ok(json_int(element.value, "tokens", "answer", &tokens));
    assert_int_equal(tokens, 1);
    assert_ok(json_real(element.value, "logprob", "answer", &logprob));
    assert_true(fabs(logprob - (offered * step * known.state - known.logsum)) < 1e-5);
  }
  assert_false(next_answer(reader, &element));
  json_reader_close(reader);
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Generated freely it is none of them. */
static void test_other_token_is_likelier(void **state) {
  json_element_t element;
  (void)state;
  assert_ok(
      letters_generate("free", "known.h5", "dataset='@/letters.tsv' greedy=T max_tokens=1 format='jsonl'"));
  json_reader_t *reader = open_answers("free/answers.jsonl");
  while (next_answer(reader, &element)) {
    const char *answer = member(&element, "prediction");
    assert_false(strlen(answer) == 1 && *answer >= 'A' && *answer <= 'D');
  }
  json_reader_close(reader);
  assert_ok(comm_barrier(mpi_test_world()));
}

static status_t run_evaluate(session_t *session) {
  static const judge_entry_t judge = {"mmbench", mmbench_open};
  session->judges = &judge;
  session->judge_count = 1;
  return evaluate_run(session);
}

static void check_evaluation(const char *name, double accuracy, int64_t answers) {
  char file[64];
  json_document_t document;
  const json_t *scores;
  int64_t counted;
  snprintf(file, sizeof file, "%s/evaluation.json", name);
  const json_t *models = open_models(file, 1, &document);
  assert_ok(json_object(json_at(models, 0), "mmbench", "evaluation", &scores));
  check_real(scores, "accuracy", accuracy);
  check_real(scores, "unread", 0.0);
  assert_ok(json_int(scores, "accuracy_answers", "evaluation", &counted));
  assert_int_equal(counted, answers);
  json_free(&document);
  assert_ok(comm_barrier(mpi_test_world()));
}

/* Right are the first and the last question; in all orders of the options, each question once. */
static void test_letters_are_judged(void **state) {
  (void)state;
  for (int circular = 0; circular < 2; circular++) {
    char text[1024];
    snprintf(text, sizeof text,
             "&job task='evaluate' run_dir='@/judged_%d' /\n&model base='@/known.h5' template='v1' /\n"
             "&data max_len=600 /\n&generate letters=T circular=%c /\n"
             "&eval dataset='@/letters.tsv' image_folder='@/world/images' judge='mmbench' /\n",
             circular, circular ? 'T' : 'F');
    assert_ok(fixture_run(fixture(), mpi_test_world(), 1, text, run_evaluate));
    assert_ok(comm_barrier(mpi_test_world()));
  }
  check_evaluation("judged_0", 2.0 / 3.0, 3);
  check_evaluation("judged_1", 3.0 / 9.0, 9);
}

static void test_refused(void **state) {
  (void)state;
  assert_error(letters_generate("bad", "known.h5", "dataset='@/world/eval.h5' letters=T"), STATUS_INPUT);
  assert_error(
      letters_generate("bad", "known.h5", "dataset='@/letters.tsv' letters=T samples=2 format='jsonl'"),
      STATUS_INPUT);
}

static bool next_small(void *context, const char **text, size_t *n) {
  int *left = context;
  *text = "a chat between a user and an assistant";
  *n = strlen(*text);
  return (*left)-- > 0;
}

/* A tokenizer whose answers all begin with the token of a space. */
static void test_letters_begin_alike(void **state) {
  tokenizer_t *tokenizer;
  int32_t tokens[MMBENCH_OPTIONS];
  int left = 20;
  const tokenizer_training_t training = {.vocab_size = VOCAB_SIZE, .byte_fallback = true};
  (void)state;
  assert_ok(tokenizer_train(&training, next_small, &left, &tokenizer));
  assert_error(letters_tokens(tokenizer, TEMPLATE_V1, tokens), STATUS_INPUT);
  tokenizer_free(tokenizer);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(set_up_known),
      cmocka_unit_test(test_answers_are_letters),
      cmocka_unit_test(test_other_token_is_likelier),
      cmocka_unit_test(test_letters_are_judged),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_letters_begin_alike),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
