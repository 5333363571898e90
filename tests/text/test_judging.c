/* The judging prompt and its facts. */
#include "text_test.h"

#include "text/judging.h"

#define FACTS_LINE                                                                                           \
  "Specifically, the AI's response should be fully supported by the combination of the following "           \
  "captions:\n"

static void test_fill(void **state) {
  (void)state;
  text_buffer_t text = {0};
  text_view_t prompt = text_view("\n USER: rate. {factual_prompt}end\n ");
  text_view_t captions[] = {text_view("a dog"), text_view("two {factual_prompt}"), text_view("")};
  assert_int_equal(judging_prompt_fill(prompt, captions, NULL, 2, &text), STATUS_OK);
  assert_text(&text, " USER: rate. " FACTS_LINE "  - a dog\n  - two {factual_prompt}\nend");
  assert_int_equal(judging_prompt_fill(prompt, captions, (const int32_t[]){2, 0, 1}, 3, &text), STATUS_OK);
  assert_text(&text, " USER: rate. " FACTS_LINE "  - \n  - a dog\n  - two {factual_prompt}\nend");
  assert_int_equal(judging_prompt_fill(prompt, NULL, NULL, 0, &text), STATUS_OK);
  assert_text(&text, " USER: rate. end");
  assert_int_equal(judging_prompt_fill(text_view("no {slot}"), captions, NULL, 1, &text), STATUS_OK);
  assert_text(&text, " no {slot}");
  assert_int_equal(judging_prompt_fill(text_view("  "), NULL, NULL, 0, &text), STATUS_OK);
  assert_text(&text, " ");
}

static void test_builtin(void **state) {
  (void)state;
  text_view_t prompt = text_view(judging_prompt_builtin());
  static const char end[] =
      " ASSISTANT: Following your definitions, the quality score of my last response is";
  text_buffer_t text = {0};
  assert_true(judging_prompt_has_slot(prompt));
  assert_false(judging_prompt_has_slot(text_view("{factual}")));
  assert_int_equal(judging_prompt_fill(prompt, NULL, NULL, 0, &text), STATUS_OK);
  assert_true(text_starts_with(text_buffer_view(&text), " USER: "));
  assert_true(text.n > sizeof end);
  assert_string_equal(text.bytes + text.n - (sizeof end - 1), end);
  assert_false(text_contains(text_buffer_view(&text), "{"));
  text_buffer_free(&text);
}

/* Tokenised by itself: "  USER" starts with the dummy space and the one in front; the conversation's tokens
 * stay as they were, with or without a </s> at their end. */
static void test_append(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  int32_t tokens[] = {1, 300, 301};
  sequence_t s = {0};
  assert_int_equal(sequence_append(&s, tokens, 3, true), STATUS_OK);
  assert_int_equal(judging_prompt_append(tokenizer, text_view(" USER: red</s>"), &s), STATUS_OK);
  assert_memory_equal(s.tokens, tokens, sizeof tokens);
  /* Special tokens are the tokenizer's, as in transformers: prompts of other templates are made of them. */
  assert_pieces(tokenizer, &s, 3, 8, PIECES("\u2581", "\u2581USER", ":", "\u2581red", "</s>"));
  assert_int_equal(s.n, 8);
  for (int32_t i = 3; i < s.n; i++)
    assert_int_equal(s.learnt[i], 0);
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

static void test_order(void **state) {
  (void)state;
  enum { N = 5, USES = 1200 };
  int32_t order[N], again[N], first[N] = {0}, changed = 0;
  for (uint64_t use = 0; use < USES; use++) {
    judging_facts_order(7, 42, use, N, order);
    judging_facts_order(7, 42, use, N, again);
    assert_memory_equal(order, again, sizeof order);
    int seen = 0;
    for (int i = 0; i < N; i++)
      seen |= 1 << order[i];
    assert_int_equal(seen, (1 << N) - 1);
    first[order[0]]++;
    judging_facts_order(7, 43, use, N, again);
    changed += memcmp(order, again, sizeof order) != 0;
  }
  for (int i = 0; i < N; i++)
    assert_in_range(first[i], USES / N - 80, USES / N + 80); /* a deviation of 5.8 standard deviations */
  assert_true(changed > USES * 9 / 10);
  judging_facts_order(7, 42, 0, 0, order);
  judging_facts_order(7, 42, 0, 1, order);
  assert_int_equal(order[0], 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fill),
      cmocka_unit_test(test_builtin),
      cmocka_unit_test(test_append),
      cmocka_unit_test(test_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
