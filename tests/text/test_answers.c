/* Ends of responses, correctness by answer type, POPE, MMHal's judge: cases written out by hand. */
#include "text_test.h"

#include "text/answers.h"

enum { EOS = 2, SPACED = 1577, MARK = 29973 };

static void test_ends(void **state) {
  (void)state;
  const response_end_t end = {.answer = EOS, .text = EOS, .question = {SPACED, MARK}};
  const response_end_t plain = {.answer = EOS, .text = EOS, .question = {-1, -1}};
  static const int32_t ending[] = {EOS, SPACED, MARK};
  for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
    assert_true(response_ends(&end, ending[i]));
    assert_int_equal(response_ends(&plain, ending[i]), ending[i] == EOS);
  }
  assert_false(response_ends(&end, 10));
  assert_false(response_ends(&plain, -1)); /* -1 is no piece */
}

static void test_ends_of_a_model(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  response_end_t end = response_end(tokenizer, TEMPLATE_V1, true),
                 plain = response_end(tokenizer, TEMPLATE_V1, false);
  assert_int_equal(end.answer, tokenizer_eos(tokenizer));
  assert_string_equal(tokenizer_piece(tokenizer, end.question[1]), "?");
  assert_int_equal(end.question[0], tokenizer_piece_id(tokenizer, "\u2581?"));
  assert_int_equal(plain.question[0], -1);
  assert_int_equal(plain.question[1], -1);
  tokenizer_free(tokenizer);
}

/* Those that a model's configuration names come on top; generation looks for each of them once. */
static void test_a_models_own_ends(void **state) {
  (void)state;
  static const int32_t own[] = {7, EOS, 9, 7};
  int32_t tokens[RESPONSE_ENDS_MAX], many[TOKENIZER_ENDS_MAX + 1] = {0};
  tokenizer_t *tokenizer = load_words();
  assert_int_equal(tokenizer_eos(tokenizer), EOS);
  assert_int_equal(tokenizer_set_ends(tokenizer, own, 4), STATUS_OK);
  response_end_t end = response_end(tokenizer, TEMPLATE_V1, false);
  assert_true(response_completes(&end, 7) && response_completes(&end, 9) && response_completes(&end, EOS));
  assert_false(response_completes(&end, 0) || response_completes(&end, 8) || response_completes(&end, -1));
  assert_int_equal(response_end_tokens(&end, tokens), 3);
  assert_memory_equal(tokens, ((const int32_t[]){EOS, 7, 9}), 3 * sizeof *tokens);
  assert_int_equal(tokenizer_set_ends(tokenizer, many, TOKENIZER_ENDS_MAX + 1), STATUS_DATA);
  tokenizer_free(tokenizer);
}

static void assert_correct(int type, const char *response, double expected) {
  answer_type_t parsed;
  assert_int_equal(answer_type_from_number(type, &parsed), STATUS_OK);
  assert_true(answer_correct(parsed, text_view(response)) == expected);
}

static void test_options(void **state) {
  (void)state;
  assert_correct(2, "A. a bus", 1);
  assert_correct(2, "  \nA. a bus", 1);
  assert_correct(3, "B.", 1);
  assert_correct(3, "A. a bus", 0);
  assert_correct(3, "B a bus", 0);
  assert_correct(3, "b. a bus", 0);
  assert_correct(4, "It has wheels, so the correct option is C.", 1);
  assert_correct(4, "the correct option is C", 0);
  assert_correct(4, "The Correct Option is C.", 0);
  assert_correct(4, "A. no; the correct option is C. or so", 1);
  assert_correct(5, "The answer is D.", 0);
  assert_correct(5, "", 0);
}

static void test_yes_no(void **state) {
  (void)state;
  assert_correct(6, "No, there is not.", 0.5);
  assert_correct(6, " Nothing is there.", 0.5);
  assert_correct(6, "Yes, there is.", -0.5);
  assert_correct(6, "no", 0);
  assert_correct(6, "There is No dog", 0);
  assert_correct(6, "", 0);
  assert_correct(7, "Yes", 0);
  assert_correct(7, "No", 0);
  assert_correct(1, "A. Yes. No.", 0);
}

static void test_types(void **state) {
  (void)state;
  answer_type_t type;
  assert_int_equal(answer_type_from_number(0, &type), STATUS_DATA);
  assert_int_equal(answer_type_from_number(8, &type), STATUS_DATA);
  assert_int_equal(answer_type_from_number(-1, &type), STATUS_DATA);
  assert_false(answer_type_is_option(ANSWER_GENERAL));
  assert_true(answer_type_is_option(ANSWER_OPTION_A));
  assert_true(answer_type_is_option(ANSWER_OPTION_D));
  assert_false(answer_type_is_option(ANSWER_NO));
}

static void test_pope(void **state) {
  (void)state;
  const char *const yes[] = {"Yes",    "",      "Nothing", "NO", "It is a knot", "Yes. No.", "nothing, noted",
                             "no\nno", "cannot"};
  const char *const no[] = {
      "No", "no", "No, there is not", "There is not a dog. Yes", "no, it", "I see,no dog? no", "Yes or no"};
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
    assert_true(pope_says_yes(text_view(yes[i])));
  for (size_t i = 0; i < sizeof no / sizeof *no; i++)
    assert_false(pope_says_yes(text_view(no[i])));
  assert_true(pope_says_yes(text_view("I see,no dog"))); /* commas vanish: "seeno" */
  assert_false(pope_says_yes(text_view("n,o")));         /* ... and "no" */
  assert_true(pope_says_yes(text_view("No-one")));
  assert_false(pope_says_yes(text_view(",,,,,,,,,,,no")));
}

static void assert_rating(const char *reply, bool expected_found, int32_t expected) {
  bool found;
  assert_int_equal(mmhal_rating(text_view(reply), &found), expected);
  assert_int_equal(found, expected_found);
}

static void test_mmhal(void **state) {
  (void)state;
  assert_rating("It is right.\nRating: 5", true, 5);
  assert_rating("RATING: 0", true, 0);
  assert_rating("rating: 6, the highest rating: 6.", true, 6);
  assert_rating("Rating: 3 or Rating: 4", false, 0);
  assert_rating("Rating: 7", false, 0);
  assert_rating("Rating:5", false, 0);
  assert_rating("Rating: ", false, 0);
  assert_rating("Rating: five", false, 0);
  assert_rating("", false, 0);
  assert_rating("rating: rating: 2", true, 2);
  bool found;
  assert_int_equal(mmhal_rating((text_view_t){"Rating: 5", 8}, &found), 0);
  assert_false(found);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ends),
      cmocka_unit_test(test_options),
      cmocka_unit_test(test_ends_of_a_model),
      cmocka_unit_test(test_yes_no),
      cmocka_unit_test(test_types),
      cmocka_unit_test(test_pope),
      cmocka_unit_test(test_mmhal),
      cmocka_unit_test(test_a_models_own_ends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
