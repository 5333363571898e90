/* Replies of a judge of MMHal-Bench. */
#include "eval/mmhal.h"

#include "base/log.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static status_t read_text(const char *text, mmhal_counts_t *counts) {
  char path[] = "/tmp/llava_mmhal_XXXXXX";
  int descriptor = mkstemp(path);
  assert_true(descriptor >= 0);
  FILE *file = fdopen(descriptor, "w");
  fputs(text, file);
  fclose(file);
  status_code_t status = mmhal_read(path, counts);
  unlink(path);
  return status;
}

#define REPLY(text)                                                                                          \
  "{\"id\": \"x\", \"choices\": [{\"message\": {\"role\": \"assistant\", \"content\": \"" text "\"}}]}"

static void test_counts(void **state) {
  (void)state;
  mmhal_counts_t counts;
  log_set_level(LOG_ERROR);
  /* Nine replies: the ninth is of the first type again. The sixth names two ratings. */
  static const char replies[] = "[" REPLY("Fine.\\nRating: 6") ",\n" //
      REPLY("rating: 2, poor") ",\n"                                 //
      REPLY("Rating: 3") ",\n"                                       //
      REPLY("RATING: 0") ",\n"                                       //
      REPLY("Rating: 5") ",\n"                                       //
      REPLY("Rating: 5 ... or Rating: 4") ",\n"                      //
      REPLY("Rating: 1") ",\n"                                       //
      REPLY("no number") ",\n"                                       //
      REPLY("Rating: 4") "]";
  status_code_t status = read_text(replies, &counts);
  log_set_level(LOG_INFO);
  assert_int_equal(status, STATUS_OK);
  assert_int_equal(counts.replies, 9);
  assert_int_equal(counts.unread, 2);
  assert_true(counts.ratings == 21.0);
  assert_true(counts.hallucinated == 5.0);
  assert_int_equal(counts.type_replies[0], 2);
  assert_true(counts.type_ratings[0] == 10.0);
  assert_int_equal(counts.type_replies[7], 1);
  assert_true(counts.type_ratings[5] == 0.0);
}

static void test_broken_files(void **state) {
  (void)state;
  mmhal_counts_t counts;
  assert_int_equal(read_text("[{\"choices\": []}]", &counts), STATUS_DATA);
  assert_int_equal(read_text("[{\"choices\": [{\"message\": 3}]}]", &counts), STATUS_DATA);
  assert_int_equal(read_text("[{\"error\": \"quota\"}]", &counts), STATUS_DATA);
  assert_int_equal(read_text("[" REPLY("Rating: 6"), &counts), STATUS_DATA);
  assert_int_equal(mmhal_read("/nowhere/replies.json", &counts), STATUS_DATA);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_counts),
      cmocka_unit_test(test_broken_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
