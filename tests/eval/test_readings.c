/* The rules of the benchmarks' judges, by hand: what is read from one answer, and what answers come to. */
#include "eval/answer_list.h"
#include "eval/chair.h"
#include "eval/chair_words.h"
#include "eval/llava_bench.h"
#include "eval/mmbench.h"
#include "eval/requests.h"
#include "eval/yes_no.h"

#include "base/log.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- Yes and no ---- */

static void test_yes_no(void **state) {
  static const struct {
    const char *answer;
    says_t said[4]; /* by rule, in their order */
  } cases[] = {
      {"Yes", {SAYS_YES, SAYS_YES, SAYS_YES, SAYS_YES}},
      {"No", {SAYS_NO, SAYS_NO, SAYS_NO, SAYS_NO}},
      {"yes", {SAYS_YES, SAYS_YES, SAYS_YES, SAYS_NEITHER}},
      {"No.", {SAYS_NO, SAYS_NO, SAYS_NEITHER, SAYS_NEITHER}},
      {"NO", {SAYS_YES, SAYS_NO, SAYS_NO, SAYS_NEITHER}}, /* none of No, not, no */
      {"There is not a dog.", {SAYS_NO, SAYS_NEITHER, SAYS_NEITHER, SAYS_NEITHER}},
      {"A dog. No cat.", {SAYS_YES, SAYS_NO, SAYS_NEITHER, SAYS_NEITHER}}, /* the first sentence */
      {"Yes, and no", {SAYS_NO, SAYS_NEITHER, SAYS_NEITHER, SAYS_NEITHER}},
      {"No, yes", {SAYS_NO, SAYS_NEITHER, SAYS_NEITHER, SAYS_NEITHER}},
      {"Nothing, eyes closed", {SAYS_YES, SAYS_NEITHER, SAYS_NEITHER, SAYS_NEITHER}},
      {"", {SAYS_YES, SAYS_NEITHER, SAYS_NEITHER, SAYS_NEITHER}},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int rule = YES_NO_SENTENCE; rule <= YES_NO_CAPITAL; rule++)
      assert_int_equal(yes_no_read((yes_no_rule_t)rule, text_view(cases[i].answer)), cases[i].said[rule]);
  assert_int_equal(yes_no_choose("published", YES_NO_CAPITAL), YES_NO_CAPITAL);
  assert_int_equal(yes_no_choose("words", YES_NO_CAPITAL), YES_NO_WORDS);
  assert_int_equal(yes_no_choose("sentence", YES_NO_CAPITAL), YES_NO_SENTENCE);
  assert_int_equal(yes_no_choose("exact", YES_NO_SENTENCE), YES_NO_EXACT);
}

/* ---- MMBench ---- */

static void check_match(const mmbench_options_t *options, const char *answer, int32_t expected) {
  int32_t option;
  assert_int_equal(mmbench_match(options, text_view(answer), &option), STATUS_OK);
  if (option != expected) print_error("'%s'\n", answer);
  assert_int_equal(option, expected);
}

static void test_mmbench_match(void **state) {
  const mmbench_options_t options = {{"a teddy bear", "a rabbit", "cat", ""}, 3};
  static const struct {
    const char *answer;
    int32_t option;
  } cases[] = {{"B", 1},
               {"(C)", 2},
               {"The answer is B.", 1},
               {"A. a teddy bear", 0},
               {"A", 0},
               {"D", MMBENCH_NO_OPTION}, /* no such option */
               {"A or B", MMBENCH_NO_OPTION},
               {"A Rabbit!", 0},
               {"A rabbit sits down there", 1}, /* A is not among the last four words */
               {"B, as I have said", MMBENCH_NO_OPTION},
               {"B, as I said", 1},
               {"B\xC2\xA0rabbit", 1}, /* U+00A0 parts words */
               {"\xE3\x80\x80"
                "C\xE3\x80\x80",
                2},
               {"Z", MMBENCH_REFUSED},
               {"Z, or B", 1},
               {"Cannot determine the answer. B", MMBENCH_REFUSED},
               {"I'm sorry, but without the image provided a rabbit", MMBENCH_REFUSED},
               {"I can't process this file. C", MMBENCH_REFUSED},
               {"Sorry, I can't help with images of people yet. A", MMBENCH_REFUSED},
               {"It is a Rabbit", 1},
               {"it shows a cat", 2},
               {"a cat and a rabbit", MMBENCH_NO_OPTION},
               {"it is a cat, if I may say so, that sits here and looks away", MMBENCH_NO_OPTION},
               {"", MMBENCH_NO_OPTION}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check_match(&options, cases[i].answer, cases[i].option);
  assert_true(mmbench_is_blank("") && mmbench_is_blank("NaN") && mmbench_is_blank("None"));
  assert_false(mmbench_is_blank("none of them"));
}

/* Characters count, not bytes, and have two cases in all scripts. */
static void test_mmbench_scripts(void **state) {
  const mmbench_options_t options = {{"\xC3\x89"
                                      "cole",
                                      "\xCE\xBB\xCF\x8C\xCE\xB3\xCE\xBF", "\xE7\x8C\xAB", ""},
                                     3};
  (void)state;
  check_match(&options,
              "\xC3\xA9"
              "COLE",
              0);
  check_match(&options, "\xCE\x9B\xCE\x8C\xCE\x93\xCE\x9F", 1);
  check_match(
      &options,
      "\xE7\x8C\xAB\xE7\x8C\xAB\xE7\x8C\xAB\xE7\x8C\xAB\xE7\x8C\xAB\xE7\x8C\xAB\xE7\x8C\xAB\xE7\x8C\xAB", 2);
  check_match(&options, "12345678901234567890\xE7\x8C\xAB", MMBENCH_NO_OPTION);
  check_match(&options, "1234567890123456789\xE7\x8C\xAB", 2);
}

/* ---- LLaVA-Bench ---- */

static void test_llava_bench_scores(void **state) {
  double scores[2];
  (void)state;
  assert_true(llava_bench_scores("8 9.5\nBoth are good: 1 2", scores));
  assert_true(scores[0] == 8.0 && scores[1] == 9.5);
  assert_true(llava_bench_scores("8, 7", scores) && scores[1] == 7.0);
  assert_true(llava_bench_scores("8,7 ", scores) && scores[1] == 7.0);
  static const char *const bad[] = {
      "",    "8",     "8 9 7", "Answer 1: 8 9", "8/10 9/10", "\n8 9",       "nan 3",
      "0 5", "-1 -1", "80 90", "1e1 9",         "0x8 9",     "1e300 1e300", ". 9"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_false(llava_bench_scores(bad[i], scores));
}

/* ---- CHAIR ---- */

static const char *file_of(const char *text, char path[64]) {
  snprintf(path, 64, "/tmp/llava_words_XXXXXX");
  int descriptor = mkstemp(path);
  assert_true(descriptor >= 0);
  FILE *file = fdopen(descriptor, "w");
  fputs(text, file);
  fclose(file);
  return path;
}

/* "person dog dog": the kinds of a text, in order. */
static void check_mentions(const chair_words_t *words, const char *text, const char *expected) {
  int32_t mentions[CHAIR_MENTIONS_MAX], count;
  char got[512] = "";
  chair_words_mentions(words, text_view(text), mentions, &count);
  for (int32_t i = 0; i < count; i++) {
    size_t used = strlen(got);
    snprintf(got + used, sizeof got - used, "%s%s", i > 0 ? "," : "", words->names[mentions[i]]);
  }
  assert_string_equal(got, expected);
}

static void test_chair_words(void **state) {
  char path[64];
  chair_words_t words;
  (void)state;
  assert_int_equal(chair_words_read(file_of("person, man, woman, child, grandchild, baby, passenger\n"
                                            "dog, puppy\n"
                                            "train\n\n"
                                            "chair, seat\n"
                                            "toilet\n"
                                            "knife\n"
                                            "bus\n"
                                            "tie, necktie\n"
                                            "wine glass, glass\n"
                                            "hot dog\n",
                                            path),
                                    &words),
                   STATUS_OK);
  unlink(path);
  assert_int_equal(words.count, 10);
  check_mentions(&words, "Two men and a Woman with puppies.", "person,person,dog");
  check_mentions(&words, "A baby dog near a passenger train, babies behind", "dog,train,person");
  check_mentions(&words, "Hot dogs, wine glasses; knives/buses", "hot dog,wine glass,knife,bus");
  check_mentions(&words, "a chair and a seat", "chair,chair");
  check_mentions(&words, "a toilet with its seat down, and a chair", "toilet,chair");
  check_mentions(&words, "a toilet seat, and seats", "toilet");
  check_mentions(&words, "the man's bow tie, children", "person,tie,person");
  check_mentions(&words, "doghouse and trains", "train");
  check_mentions(&words, "trains on train tracks, a train track and a passenger train track", "train,train");
  /* Words with more than white space between are no pair. */
  check_mentions(&words, "a baby, dogs", "person,dog");
  check_mentions(&words, "It is hot. Dogs run", "dog");
  check_mentions(&words, "a passenger. Trains pass", "person,train");
  check_mentions(&words, "hot\n dogs, a wine (glass), a train's track", "hot dog,wine glass,train");
  check_mentions(&words, "", "");
  chair_words_free(&words);
  assert_int_equal(chair_words_read(file_of("\n \n", path), &words), STATUS_DATA);
  unlink(path);
  chair_words_free(&words);
  assert_int_equal(chair_image_number("COCO_val2014_000000310196.jpg"), 310196);
  assert_int_equal(chair_image_number("a/000000000139.jpg"), 139);
  assert_int_equal(chair_image_number("photo.jpg"), -1);
}

/* -es is a plural's where the singular's end asks for it. */
static void test_chair_singular(void **state) {
  static const char *const cases[][2] = {
      {"cares, copes, manes, vanes, does", ""},
      {"cars cops men women policemen vans", "car,cop,man,man,man,van"},
      {"buses couches foxes potatoes brushes horses vases", "bus,couch,fox,potato,brush,horse,vase"},
      {"knives wolves gloves stoves", "knife,wolf,glove,stove"},
      {"puppies ties oxen mice geese grandchildren people", "puppy,tie,ox,mouse,goose,grandchild,person"},
      {"bus glass skis", "bus,glass,ski"},
      {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaamice", ""}, /* no room for mouse */
      {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaamice", ""},
  };
  char path[64];
  chair_words_t words;
  (void)state;
  assert_int_equal(
      chair_words_read(file_of("car\ncop\nman, woman, policeman\nvan\nbus\ncouch\nfox\npotato\nbrush\nhorse\n"
                               "vase\nknife\nwolf\nglove\nstove\npuppy\ntie\nox\nmouse\ngoose\ngrandchild\n"
                               "person\nglass\nski\n",
                               path),
                       &words),
      STATUS_OK);
  unlink(path);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    check_mentions(&words, cases[i][0], cases[i][1]);
  chair_words_free(&words);
}

/* ---- Requests ---- */

static void test_prompts(void **state) {
  const char *const slots[SLOTS] = {"Q?", "an {question} answer", NULL, "C"};
  text_buffer_t text = {0};
  char path[64], *taken = NULL;
  (void)state;
  assert_int_equal(prompt_fill("{context}: {question} {x} {answer}{reference}.", slots, &text), STATUS_OK);
  assert_string_equal(text.bytes, "C: Q? {x} an {question} answer.");
  text_buffer_free(&text);
  assert_int_equal(prompt_take(file_of("Judge {question}", path), "", &taken), STATUS_DATA);
  unlink(path);
  memory_free(taken);
  assert_int_equal(prompt_take("", "built in", &taken), STATUS_OK);
  assert_string_equal(taken, "built in");
  memory_free(taken);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_yes_no),          cmocka_unit_test(test_mmbench_match),
      cmocka_unit_test(test_mmbench_scripts), cmocka_unit_test(test_chair_singular),
      cmocka_unit_test(test_chair_words),     cmocka_unit_test(test_llava_bench_scores),
      cmocka_unit_test(test_prompts),
  };
  log_set_level(LOG_ERROR);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
