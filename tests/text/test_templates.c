/* Chat templates of other models: their text, what is learnt, and the tokens that end an answer. */
#include "text_test.h"

#include "text/answers.h"

/* Asserts that the tokens of S with LEARNT spell EXPECTED, special tokens by their pieces. */
static void assert_spelt(const tokenizer_t *tokenizer, const sequence_t *s, int learnt,
                         const char *expected) {
  text_buffer_t text = {0};
  for (int32_t i = 0; i < s->n; i++) {
    char *one;
    if (s->learnt[i] != learnt) continue;
    assert_int_equal(tokenizer_decode(tokenizer, &s->tokens[i], 1, &one, NULL), STATUS_OK);
    bool special = *one == '\0';
    assert_int_equal(
        text_buffer_append_string(&text, special ? tokenizer_piece(tokenizer, s->tokens[i]) : one),
        STATUS_OK);
    memory_free(one);
  }
  assert_text(&text, expected);
}

static const char *const talk_texts[] = {"<image>\nIs there a star?", " No. ", " two stars? ", "Yes\n", NULL};

static void check_masks(const char *name, template_t template, const char *learnt, const char *rest) {
  tokenizer_t *tokenizer = load_golden(name);
  talk_t talk;
  sequence_t s;
  talk_set(&talk, talk_texts);
  assert_int_equal(template_check(template, tokenizer), STATUS_OK);
  assert_int_equal(conversation_sequence(tokenizer, template, &talk.conversation, 0, &s), STATUS_OK);
  assert_spelt(tokenizer, &s, 1, learnt);
  assert_spelt(tokenizer, &s, 0, rest);
  assert_int_equal(s.tokens[s.n - 1], template_end(template, tokenizer));
  assert_int_equal(sequence_images(&s), 1);
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

static void test_chatml(void **state) {
  (void)state;
  check_masks("bpe_qwen2.json", TEMPLATE_CHATML, " No. <|im_end|>Yes\n<|im_end|>",
              "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
              "<|im_start|>user\n<image>\nIs there a star?<|im_end|>\n<|im_start|>assistant\n"
              "\n<|im_start|>user\n two stars? <|im_end|>\n<|im_start|>assistant\n");
}

/* Turns are stripped, and BOS stands in front. */
static void test_llama3(void **state) {
  (void)state;
  check_masks(
      "bpe_llama3.json", TEMPLATE_LLAMA3, "No.<|eot_id|>Yes<|eot_id|>",
      "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<image>\nIs there a star?<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n"
      "<|start_header_id|>user<|end_header_id|>\n\ntwo stars?<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

/* v1 on a model that has no "</s>": its own end of text closes answers. */
static void test_v1_of_another_tokenizer(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_golden("bpe_smollm2.json");
  talk_t talk;
  sequence_t s;
  talk_set(&talk, TALK("star?", "No", "circle?", "Yes"));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &s), STATUS_OK);
  assert_spelt(tokenizer, &s, 1, " No<|endoftext|> Yes<|endoftext|>");
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

/* The query is the part of the training sequence that is not learnt. */
static void test_query_is_the_masked_part(void **state) {
  (void)state;
  static const struct {
    const char *name;
    template_t template;
  } cases[] = {{"bpe_qwen2.json", TEMPLATE_CHATML},
               {"bpe_smollm2.json", TEMPLATE_SMOLLM2},
               {"bpe_llama3.json", TEMPLATE_LLAMA3},
               {"bpe_llama3.json", TEMPLATE_LLAVA_LLAMA3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tokenizer_t *tokenizer = load_golden(cases[i].name);
    talk_t talk;
    sequence_t whole, query;
    bool fits;
    talk_set(&talk, TALK("<image>\nWhat?", "There is a star."));
    assert_int_equal(conversation_sequence(tokenizer, cases[i].template, &talk.conversation, 0, &whole),
                     STATUS_OK);
    assert_int_equal(
        conversation_query(tokenizer, cases[i].template, &talk.conversation, 0, 0, &query, &fits), STATUS_OK);
    assert_int_equal(find_learnt(&whole, 0, 1), query.n);
    assert_int_equal(find_learnt(&whole, query.n, 0), whole.n);
    assert_memory_equal(whole.tokens, query.tokens, (size_t)query.n * sizeof *query.tokens);
    sequence_free(&whole);
    sequence_free(&query);
    tokenizer_free(tokenizer);
  }
}

static void test_ends(void **state) {
  (void)state;
  tokenizer_t *qwen = load_golden("bpe_qwen2.json"), *words = load_words();
  response_end_t end = response_end(qwen, TEMPLATE_CHATML, true);
  assert_int_equal(end.answer, tokenizer_piece_id(qwen, "<|im_end|>"));
  assert_int_equal(end.text, tokenizer_piece_id(qwen, "<|endoftext|>"));
  assert_true(response_completes(&end, end.answer) && response_completes(&end, end.text));
  assert_int_equal(end.question[0], tokenizer_piece_id(qwen, "\u0120?"));
  assert_true(end.question[1] >= 0);
  assert_true(response_ends(&end, end.question[1]) && !response_completes(&end, end.question[1]));
  assert_int_equal(template_check(TEMPLATE_CHATML, words), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "<|im_start|>"));
  assert_int_equal(template_check(TEMPLATE_LLAMA3, qwen), STATUS_INPUT);
  assert_int_equal(template_check(TEMPLATE_V1, qwen), STATUS_OK);
  tokenizer_free(qwen);
  tokenizer_free(words);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chatml),
      cmocka_unit_test(test_llama3),
      cmocka_unit_test(test_v1_of_another_tokenizer),
      cmocka_unit_test(test_query_is_the_masked_part),
      cmocka_unit_test(test_ends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
