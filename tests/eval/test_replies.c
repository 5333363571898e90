/* Replies of judges elsewhere: MMHal-Bench's and LLaVA-Bench's. */
#include "eval/llava_bench.h"
#include "eval/mmhal.h"
#include "eval/requests.h"

#include "base/log.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* What the replies TEXT come to. */
static status_t hear_text(const char *text, const judge_t *judge, tally_t *tally, int64_t *count) {
  char path[] = "/tmp/llava_replies_XXXXXX";
  judge_t hearing = *judge;
  int descriptor = mkstemp(path);
  assert_true(descriptor >= 0);
  FILE *file = fdopen(descriptor, "w");
  fputs(text, file);
  fclose(file);
  *tally = (tally_t){0};
  log_set_level(LOG_ERROR);
  status_code_t status = replies_judge(path, &hearing, tally, count);
  log_set_level(LOG_INFO);
  unlink(path);
  return status;
}

#define MESSAGE(text) "{\"choices\": [{\"message\": {\"role\": \"assistant\", \"content\": \"" text "\"}}]}"
#define BATCH(id, text)                                                                                      \
  "{\"id\": \"x\", \"custom_id\": \"" id                                                                     \
  "\", \"response\": {\"status_code\": 200, \"body\": " MESSAGE(text) "}}\n"

static void check(const tally_t *tally, const judge_t *judge, int32_t metric, double expected,
                  double answers) {
  interval_t got = tally_metric(tally, judge, metric);
  assert_true(fabs(got.value - expected) < 1e-12 && got.answers == answers);
}

static void check_type(const tally_t *tally, const judge_t *judge, int32_t type, int32_t metric,
                       double expected, double answers) {
  interval_t got = tally_type_metric(tally, judge, type, metric);
  assert_true(fabs(got.value - expected) < 1e-12 && got.answers == answers);
}

static void test_published_replies(void **state) {
  (void)state;
  tally_t tally;
  int64_t count;
  /* Nine replies: the ninth is of the first type again. The sixth names two ratings. */
  static const char replies[] = "[" MESSAGE("Fine.\\nRating: 6") ",\n" //
      MESSAGE("rating: 2, poor") ",\n"                                 //
      MESSAGE("Rating: 3") ",\n"                                       //
      MESSAGE("RATING: 0") ",\n"                                       //
      MESSAGE("Rating: 5") ",\n"                                       //
      MESSAGE("Rating: 5 ... or Rating: 4") ",\n"                      //
      MESSAGE("Rating: 1") ",\n"                                       //
      MESSAGE("no number") ",\n"                                       //
      MESSAGE("Rating: 4") "]";
  assert_int_equal(hear_text(replies, &mmhal_judge, &tally, &count), STATUS_OK);
  assert_int_equal(count, 9);
  check(&tally, &mmhal_judge, MMHAL_SCORE, 21.0 / 9.0, 9);
  check(&tally, &mmhal_judge, MMHAL_HALLUCINATION, 5.0 / 9.0, 9);
  assert_true(tally_metric(&tally, &mmhal_judge, MMHAL_UNREAD).value == 2.0);
  check_type(&tally, &mmhal_judge, 0, MMHAL_SCORE, 5.0, 2);
  check_type(&tally, &mmhal_judge, 7, MMHAL_SCORE, 0.0, 1);
  check_type(&tally, &mmhal_judge, 5, MMHAL_HALLUCINATION, 1.0, 1);
}

/* Results of a batch come in any order: their type is what was asked under. */
static void test_batch_replies(void **state) {
  (void)state;
  tally_t tally;
  int64_t count;
  static const char replies[] = BATCH("counting-11", "Rating: 6") BATCH("attribute-0", "Rating: 1");
  assert_int_equal(hear_text(replies, &mmhal_judge, &tally, &count), STATUS_OK);
  assert_int_equal(count, 2);
  check_type(&tally, &mmhal_judge, 3, MMHAL_SCORE, 6.0, 1);
  check_type(&tally, &mmhal_judge, 0, MMHAL_SCORE, 1.0, 1);
  static const char scores[] = BATCH("conv-0", "8 6\\nwhy") BATCH("complex-2", "10 9") BATCH("conv-3", "8 10")
      BATCH("conv-4", "both are fine");
  assert_int_equal(hear_text(scores, &llava_bench_judge, &tally, &count), STATUS_OK);
  check(&tally, &llava_bench_judge, LLAVA_BENCH_RELATIVE, 25.0 / 26.0, 3);
  check(&tally, &llava_bench_judge, LLAVA_BENCH_MODEL, 25.0 / 3.0, 3);
  check_type(&tally, &llava_bench_judge, 0, LLAVA_BENCH_RELATIVE, 1.0, 2);
  check_type(&tally, &llava_bench_judge, 2, LLAVA_BENCH_RELATIVE, 0.9, 1);
  assert_true(tally_metric(&tally, &llava_bench_judge, LLAVA_BENCH_UNREAD).value == 1.0);
}

/* Student's interval of a ratio above 1, worked out by hand: scores 4, 6 against 3, 5 make the ratio 10/8
 * with the residuals 4 - 3.75 = 0.25 and 6 - 6.25 = -0.25, so the variance 2/1 * 0.125 / 64 and one degree of
 * freedom, whose quantile is 12.7062. */
static void test_reviews(void **state) {
  (void)state;
  tally_t tally;
  int64_t count;
  static const char reviews[] =
      "{\"id\": 1, \"question_id\": 0, \"category\": \"conv\", \"content\": \"x\", \"tuple\": [3.0, 4.0]}\n"
      "{\"id\": 2, \"question_id\": 1, \"category\": \"llava_bench_detail\", \"tuple\": [5, 6]}\n"
      "{\"id\": 3, \"question_id\": 2, \"category\": \"detail\", \"tuple\": [-1, -1]}\n";
  assert_int_equal(hear_text(reviews, &llava_bench_judge, &tally, &count), STATUS_OK);
  assert_int_equal(count, 3);
  interval_t relative = tally_metric(&tally, &llava_bench_judge, LLAVA_BENCH_RELATIVE);
  assert_true(fabs(relative.value - 1.25) < 1e-12);
  assert_true(fabs(relative.high - (1.25 + 12.7062 * sqrt(0.25 / 64.0))) < 1e-9);
  assert_true(fabs(relative.low - (1.25 - 12.7062 * sqrt(0.25 / 64.0))) < 1e-9);
  check_type(&tally, &llava_bench_judge, 1, LLAVA_BENCH_RELATIVE, 1.2, 1);
}

static void test_broken_files(void **state) {
  (void)state;
  tally_t tally;
  int64_t count;
  static const char *const broken[] = {
      "[{\"choices\": []}]",       "[{\"choices\": [{\"message\": 3}]}]",
      "[{\"error\": \"quota\"}]",  "[" MESSAGE("Rating: 6"),
      BATCH("odd-1", "Rating: 6"), "{\"custom_id\": \"counting-1\", \"response\": null}"};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
    assert_int_equal(hear_text(broken[i], &mmhal_judge, &tally, &count), STATUS_DATA);
  assert_int_equal(hear_text("[" MESSAGE("8 9") "]", &llava_bench_judge, &tally, &count), STATUS_DATA);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_published_replies),
      cmocka_unit_test(test_batch_replies),
      cmocka_unit_test(test_reviews),
      cmocka_unit_test(test_broken_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
