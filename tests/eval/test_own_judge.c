/* Task evaluate with judges that the test offers. */
#include "eval/evaluation_test.h"

enum { LENGTH_MEAN, LENGTH_LONG, LENGTH_PAIRS, LENGTH_METRICS };

typedef struct {
  int64_t looks, judged, pairs, refused; /* refused: the row that is not accepted */
  bool closed;
} length_state_t;

static length_state_t length_state;

static status_t length_accept(const judge_t *judge, const answer_t *question) {
  const length_state_t *state = judge->state;
  assert_non_null(question->question);
  return question->row == state->refused ? error_set(STATUS_DATA, "not this one") : STATUS_OK;
}

static status_t length_look(judge_t *judge, const responses_t *responses) {
  length_state_t *state = judge->state;
  state->looks += responses->n;
  return STATUS_OK;
}

/* Rates an answer by its length, and tells questions of even and odd rows apart. */
static status_t length_judge(judge_t *judge, const answer_t *answer, json_writer_t *writer, verdict_t *out) {
  length_state_t *state = judge->state;
  double length = (double)strlen(answer->text);
  out->type = (int32_t)(answer->row % 2);
  out->counts[LENGTH_MEAN] = (judge_count_t){length, 1.0};
  out->counts[LENGTH_LONG] = (judge_count_t){length > 20.0, 1.0};
  json_write_int_member(writer, "row", answer->row);
  state->judged++;
  if (answer->row % 2 == 1) state->pairs++;
  return STATUS_OK;
}

static status_t length_finish(judge_t *judge, struct tally *tally) {
  length_state_t *state = judge->state;
  ratio_sums_add(&tally->all[LENGTH_PAIRS], (double)state->pairs, 1.0);
  state->pairs = 0;
  return STATUS_OK;
}

static const char *length_type_name(int32_t type) {
  return type == 0 ? "even" : "odd";
}

static void length_close(judge_t *judge) {
  length_state_t *state = judge->state;
  state->closed = true;
}

static status_t length_open(session_t *session, judge_t *out) {
  static const judge_metric_t metrics[LENGTH_METRICS] = {
      [LENGTH_MEAN] = {.name = "eval/words", .estimator = ESTIMATOR_MEAN, .by_type = true},
      [LENGTH_LONG] = {.name = "eval/recall", .estimator = ESTIMATOR_SHARE},
      [LENGTH_PAIRS] = {.name = "eval/pairs", .estimator = ESTIMATOR_COUNT}};
  (void)session;
  *out = (judge_t){.metrics = metrics,
                   .metric_count = LENGTH_METRICS,
                   .type_count = 2,
                   .type_name = length_type_name,
                   .state = &length_state,
                   .accept = length_accept,
                   .look = length_look,
                   .judge = length_judge,
                   .finish = length_finish,
                   .close = length_close};
  return STATUS_OK;
}

/* One whose metric is nowhere described. */
static status_t length_open_unknown(session_t *session, judge_t *out) {
  static const judge_metric_t metric = {.name = "eval/height", .estimator = ESTIMATOR_MEAN};
  TRY(length_open(session, out));
  out->metrics = &metric;
  out->metric_count = 1;
  return STATUS_OK;
}

static const judge_entry_t own_judges[] = {{"length", length_open}, {"height", length_open_unknown}};

/* Task evaluate of a program that offers these judges. */
static status_t run_own_judge(session_t *session) {
  session->judges = own_judges;
  session->judge_count = 2;
  return evaluate_run(session);
}

static status_t evaluate_own(const char *judge, int64_t refused) {
  char text[512];
  length_state = (length_state_t){.refused = refused};
  snprintf(text, sizeof text,
           "&job task='evaluate' run_dir='@/own' /\n&model template='v1' /\n"
           "&eval models='@/model.h5', '@/adapted.h5' dataset='@/world/eval.h5' judge='%s' /\n"
           "&generate max_tokens=8 greedy=.false. temperature=3.0 /\n",
           judge);
  return fixture_run(fixture(), mpi_test_world(), 1, text, run_own_judge);
}

static void check_own_judge(void) {
  json_document_t document;
  const json_t *models = open_models("own/evaluation.json", 2, &document), *types, *even;
  json_reader_t *reader = open_answers("own/answers_2.jsonl");
  json_element_t element;
  double sum = 0.0, squares = 0.0, many = 0.0, sum_even = 0.0, squares_even = 0.0;
  for (int64_t i = 0; next_answer(reader, &element); i++) {
    double length = (double)strlen(member(&element, "answer"));
    int64_t row;
    assert_ok(json_int(element.value, "row", "answer", &row));
    assert_int_equal(row, i);
    sum += length;
    squares += length * length;
    many += length > 20.0;
    if (row % 2 == 0) sum_even += length;
    if (row % 2 == 0) squares_even += length * length;
  }
  json_reader_close(reader);
  const json_t *model = json_at(models, 1);
  check_interval(model, "words", interval_mean(FIXTURE_QUESTIONS, sum, squares));
  check_interval(model, "recall", interval_share(many, FIXTURE_QUESTIONS));
  check_real(model, "pairs", FIXTURE_QUESTIONS / 2); /* not those of the first model as well */
  assert_ok(json_object(model, "types", "evaluation", &types));
  assert_ok(json_object(types, "even", "evaluation", &even));
  check_interval(even, "words", interval_mean(FIXTURE_QUESTIONS / 2, sum_even, squares_even));
  assert_null(json_get(even, "recall"));
  json_free(&document);
}

/* What a judge finds is in the table, the files and nowhere else; every rank looks, one judges. */
static void test_own_judge(void **state) {
  (void)state;
  bool first = comm_rank(mpi_test_world()) == 0;
  assert_ok(evaluate_own("length", -1));
  assert_int_equal(length_state.judged, first ? 2 * FIXTURE_QUESTIONS : 0);
  assert_int_equal(length_state.looks, 2 * FIXTURE_QUESTIONS);
  assert_true(length_state.closed);
  if (first) check_own_judge();
  assert_ok(comm_barrier(mpi_test_world()));
}

/* No answer is made where a judge does not accept a question, is not there or finds what nobody describes. */
static void test_refused_judges(void **state) {
  (void)state;
  assert_error(evaluate_own("length", FIXTURE_QUESTIONS - 1), STATUS_DATA);
  assert_int_equal(length_state.looks, 0);
  assert_true(length_state.closed);
  assert_error(evaluate_own("height", -1), STATUS_INTERNAL);
  assert_true(length_state.closed);
  assert_error(evaluate_own("shapes", -1), STATUS_INPUT);
  assert_int_equal(length_state.looks, 0);
  settings_t settings = {.eval.judge = "shapes"};
  const judge_entry_t *chosen;
  assert_error_about(judge_choose(&settings, own_judges, 2, &chosen), STATUS_INPUT,
                     "'none', 'length', 'height'");
  settings.eval.judge = "height";
  assert_ok(judge_choose(&settings, own_judges, 2, &chosen));
  assert_ptr_equal(chosen, &own_judges[1]);
  settings.eval.judge = "none";
  assert_ok(judge_choose(&settings, own_judges, 2, &chosen));
  assert_null(chosen);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixture_set_up),
      cmocka_unit_test(test_own_judge),
      cmocka_unit_test(test_refused_judges),
      cmocka_unit_test(fixture_tear_down),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
