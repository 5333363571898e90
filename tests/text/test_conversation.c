/* Templates, image marks, masks, cuts and queries: cases written out by hand. */
#include "text_test.h"

#define SYSTEM_V1                                                                                            \
  "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "    \
  "detailed, and "                                                                                           \
  "polite answers to the user's questions."
#define SYSTEM_LLAVA_V1                                                                                      \
  "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "   \
  "detailed, "                                                                                               \
  "and polite answers to the human's questions."

static void assert_script(template_t template, const char *const *texts, const char *expected) {
  talk_t talk;
  text_buffer_t text = {0};
  talk_set(&talk, texts);
  assert_int_equal(conversation_text(template, &talk.conversation, &text), STATUS_OK);
  assert_text(&text, expected);
}

static void test_templates(void **state) {
  (void)state;
  assert_script(TEMPLATE_V1, TALK("q1", "a1"), SYSTEM_V1 " USER: q1 ASSISTANT: a1</s>");
  assert_script(TEMPLATE_V1, TALK("q1", "a1", "q2", "a2"),
                SYSTEM_V1 " USER: q1 ASSISTANT: a1</s>USER: q2 ASSISTANT: a2</s>");
  assert_script(TEMPLATE_LLAVA_V1, TALK("q1", "a1"), SYSTEM_LLAVA_V1 " USER: q1 ASSISTANT: a1</s>");
  assert_script(TEMPLATE_PLAIN, TALK("<image>\nq1", "a1"), "<image>a1\n");
  assert_script(TEMPLATE_V1, TALK("q1", "a1", "unanswered"), SYSTEM_V1 " USER: q1 ASSISTANT: a1</s>");
  assert_script(TEMPLATE_V1, TALK("", ""), SYSTEM_V1 " USER:  ASSISTANT: </s>");
}

static void test_image_marks(void **state) {
  (void)state;
  assert_script(TEMPLATE_V1, TALK("q\n<image>", "a"), SYSTEM_V1 " USER: <image>\nq ASSISTANT: a</s>");
  assert_script(TEMPLATE_V1, TALK(" <image>  w<image>x <image> ", "a"),
                SYSTEM_V1 " USER: <image>\nwx ASSISTANT: a</s>");
  assert_script(TEMPLATE_V1, TALK("\n<image> ", "a"), SYSTEM_V1 " USER: <image> ASSISTANT: a</s>");
  assert_script(TEMPLATE_V1, TALK("<im<image>age>q", "a"), SYSTEM_V1 " USER: <image>\nq ASSISTANT: a</s>");
  assert_script(TEMPLATE_V1, TALK("q", " a <image> b "), SYSTEM_V1 " USER: q ASSISTANT:  a <image> b </s>");
  assert_script(TEMPLATE_V1, TALK("<image>", "a", "<image>", "b"),
                SYSTEM_V1 " USER: <image> ASSISTANT: a</s>USER: <image> ASSISTANT: b</s>");
  assert_script(TEMPLATE_V1, TALK(" q ", " a "), SYSTEM_V1 " USER:  q  ASSISTANT:  a </s>");
}

static void test_template_names(void **state) {
  (void)state;
  template_t template;
  static const struct {
    const char *name;
    template_t template;
  } cases[] = {{"v1", TEMPLATE_V1},
               {"llava_v1", TEMPLATE_LLAVA_V1},
               {"plain", TEMPLATE_PLAIN},
               {"chatml", TEMPLATE_CHATML},
               {"smollm2", TEMPLATE_SMOLLM2},
               {"llama3", TEMPLATE_LLAMA3},
               {"llava_llama3", TEMPLATE_LLAVA_LLAMA3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(template_from_name(cases[i].name, &template), STATUS_OK);
    assert_int_equal(template, cases[i].template);
  }
  assert_int_equal(template_from_name("v2", &template), STATUS_INPUT);
}

static void test_checks(void **state) {
  (void)state;
  turn_t gpt_first[] = {
      {TURN_GPT, text_view("hello")}, {TURN_HUMAN, text_view("q")}, {TURN_GPT, text_view("a")}};
  turn_t twice[] = {{TURN_HUMAN, text_view("q")}, {TURN_HUMAN, text_view("q")}};
  turn_t gpt_twice[] = {{TURN_GPT, text_view("a")}, {TURN_GPT, text_view("a")}};
  text_buffer_t text = {0};
  conversation_t conversation = {.turns = gpt_first, .count = 3};
  assert_int_equal(conversation_check(&conversation), STATUS_OK);
  assert_int_equal(conversation_answers(&conversation), 1);
  assert_int_equal(conversation_last_question(&conversation), 0);
  assert_int_equal(conversation_text(TEMPLATE_V1, &conversation, &text), STATUS_OK);
  assert_text(&text, SYSTEM_V1 " USER: q ASSISTANT: a</s>");
  assert_int_equal(conversation_check(&(conversation_t){.turns = NULL, .count = 0}), STATUS_DATA);
  assert_int_equal(conversation_last_question(&(conversation_t){.turns = NULL, .count = 0}), -1);
  assert_int_equal(conversation_check(&(conversation_t){.turns = gpt_first, .count = 1}), STATUS_DATA);
  assert_int_equal(conversation_check(&(conversation_t){.turns = twice, .count = 2}), STATUS_DATA);
  assert_non_null(strstr(error_message(), "turn 2 of 2"));
  assert_int_equal(conversation_check(&(conversation_t){.turns = gpt_twice, .count = 2}), STATUS_DATA);
  assert_int_equal(conversation_check(&(conversation_t){.turns = twice, .count = 1}), STATUS_OK);
  assert_int_equal(conversation_text(TEMPLATE_V1, &(conversation_t){.turns = twice, .count = 1}, &text),
                   STATUS_DATA);
}

/* The tokens around the border, spelt out: the image place, the line end, the question, " ASSISTANT:", then
 * the answer with the space before it and its </s>. */
static void test_mask_by_hand(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t s;
  talk_set(&talk, TALK("star?\n<image>", "A red circle.", "square?", "blue"));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &s), STATUS_OK);
  assert_int_equal(s.tokens[0], tokenizer_bos(tokenizer));
  int32_t first = find_learnt(&s, 0, 1), second = find_learnt(&s, first, 0),
          third = find_learnt(&s, second, 1);
  assert_pieces(tokenizer, &s, first - 10, first,
                PIECES("\u2581", "<image>", "\u2581", "\n", "s", "tar", "?", "\u2581A", "SSISTANT", ":"));
  assert_pieces(tokenizer, &s, first, second, PIECES("\u2581A", "\u2581red", "\u2581circle", ".", "</s>"));
  assert_pieces(tokenizer, &s, third, s.n, PIECES("\u2581blue", "</s>"));
  assert_pieces(tokenizer, &s, second, third,
                PIECES("\u2581USER", ":", "\u2581square", "?", "\u2581A", "SSISTANT", ":"));
  assert_int_equal(find_learnt(&s, third, 0), s.n);
  assert_int_equal(sequence_learnt(&s), 7);
  assert_int_equal(sequence_images(&s), 1);
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

/* A piece over the border between prompt and answer is learnt; where the query's own tokens agree, exactly
 * they are masked. */
static void test_mask_of_a_piece_over_the_border(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_over();
  talk_t talk;
  sequence_t s;
  talk_set(&talk, TALK("is it", "Yes"));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &s), STATUS_OK);
  assert_pieces(tokenizer, &s, find_learnt(&s, 0, 1), s.n, PIECES("\u2581ASSISTANT:\u2581Yes", "</s>"));
  sequence_free(&s);
  talk_set(&talk, TALK("is it", "No"));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &s), STATUS_OK);
  assert_pieces(tokenizer, &s, find_learnt(&s, 0, 1), s.n, PIECES("\u2581", "N", "<0x6F>", "</s>"));
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

static void test_plain(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t s;
  bool fits;
  talk_set(&talk, TALK("Say <image> what it is.", "red circle"));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_PLAIN, &talk.conversation, 0, &s), STATUS_OK);
  assert_int_equal(find_learnt(&s, 0, 1), 2);
  assert_int_equal(find_learnt(&s, 2, 0), s.n);
  assert_pieces(tokenizer, &s, 0, s.n, PIECES("<s>", "<image>", "\u2581red", "\u2581circle", "\n"));
  sequence_free(&s);
  assert_int_equal(conversation_query(tokenizer, TEMPLATE_PLAIN, &talk.conversation, 0, 0, &s, &fits),
                   STATUS_OK);
  assert_pieces(tokenizer, &s, 0, s.n, PIECES("<s>", "<image>"));
  sequence_free(&s);
  talk_set(&talk, TALK("<image>", "red", "q", "a"));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_PLAIN, &talk.conversation, 0, &s), STATUS_DATA);
  assert_null(s.tokens);
  tokenizer_free(tokenizer);
}

/* Exactly what is not learnt at the start of a training sequence is the query. */
static void test_query_is_the_masked_part(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  const char *const answers[] = {"A circle", "\nline end", " space", "", "?", "\u00dc", "</s>", ": ", "\xFF"};
  for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
    talk_t talk;
    sequence_t whole, query;
    bool fits;
    talk_set(&talk, TALK("<image>\nWhat?", answers[i]));
    assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &whole), STATUS_OK);
    assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &talk.conversation, 0, 0, &query, &fits),
                     STATUS_OK);
    assert_true(fits);
    assert_int_equal(find_learnt(&whole, 0, 1), query.n);
    assert_int_equal(find_learnt(&whole, query.n, 0), whole.n);
    assert_memory_equal(whole.tokens, query.tokens, (size_t)query.n * sizeof *query.tokens);
    assert_int_equal(sequence_learnt(&query), 0);
    assert_int_equal(whole.tokens[whole.n - 1], tokenizer_eos(tokenizer));
    sequence_free(&whole);
    sequence_free(&query);
  }
  tokenizer_free(tokenizer);
}

static void test_cut(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t whole, s;
  talk_set(&talk, TALK("<image>\nWhat?", "A red circle."));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &whole), STATUS_OK);
  for (int32_t max_len = 1; max_len <= whole.n + 1; max_len++) {
    assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, max_len, &s),
                     STATUS_OK);
    assert_int_equal(s.n, max_len < whole.n ? max_len : whole.n);
    assert_memory_equal(s.tokens, whole.tokens, (size_t)s.n * sizeof *s.tokens);
    assert_memory_equal(s.learnt, whole.learnt, (size_t)s.n);
    sequence_free(&s);
  }
  sequence_free(&whole);
  tokenizer_free(tokenizer);
}

static void test_query_length(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t s, same;
  bool fits;
  talk_set(&talk, TALK("<image>\nWhat?", "A", "And?", "B"));
  assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &talk.conversation, 0, 0, &s, &fits),
                   STATUS_OK);
  assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &talk.conversation, 0, s.n, &same, &fits),
                   STATUS_OK);
  assert_true(fits);
  assert_int_equal(same.n, s.n);
  sequence_free(&same);
  assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &talk.conversation, 0, s.n - 1, &same, &fits),
                   STATUS_OK);
  assert_false(fits);
  assert_int_equal(same.n, 0);
  assert_null(same.tokens);
  sequence_free(&s);
  assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &talk.conversation, 2, 0, &s, &fits),
                   STATUS_DATA);
  assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &talk.conversation, -1, 0, &s, &fits),
                   STATUS_DATA);
  assert_null(s.tokens);
  tokenizer_free(tokenizer);
}

/* The query for the second answer holds the first answer and its </s>, and learns nothing. */
static void test_later_query(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t s;
  bool fits;
  talk_set(&talk, TALK("q", "red", "square?"));
  assert_int_equal(conversation_last_question(&talk.conversation), 1);
  assert_int_equal(conversation_query(tokenizer, TEMPLATE_V1, &talk.conversation, 1, 0, &s, &fits),
                   STATUS_OK);
  assert_pieces(
      tokenizer, &s, s.n - 9, s.n,
      PIECES("\u2581red", "</s>", "\u2581USER", ":", "\u2581square", "?", "\u2581A", "SSISTANT", ":"));
  assert_int_equal(sequence_learnt(&s), 0);
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

static void test_replaced_answer(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t closed, open;
  talk_set(&talk, TALK("q", "red", "square?", "to be replaced by more words"));
  text_view_t answer = text_view("blue");
  assert_int_equal(conversation_answered(tokenizer, TEMPLATE_V1, &talk.conversation, answer, true, &closed),
                   STATUS_OK);
  assert_pieces(tokenizer, &closed, closed.n - 5, closed.n,
                PIECES("\u2581A", "SSISTANT", ":", "\u2581blue", "</s>"));
  talk_set(&talk, TALK("q", "red", "square?")); /* the same where no answer is there yet */
  assert_int_equal(conversation_answered(tokenizer, TEMPLATE_V1, &talk.conversation, answer, false, &open),
                   STATUS_OK);
  assert_int_equal(open.n, closed.n - 1);
  assert_memory_equal(open.tokens, closed.tokens, (size_t)open.n * sizeof *open.tokens);
  sequence_free(&closed);
  sequence_free(&open);
  tokenizer_free(tokenizer);
}

static void test_respond(void **state) {
  (void)state;
  int32_t tokens[] = {1, TOKEN_IMAGE, 7}, response[] = {8, 9, 2};
  sequence_t query = {0}, s;
  assert_int_equal(sequence_append(&query, tokens, 3, false), STATUS_OK);
  assert_int_equal(sequence_respond(&query, response, 3, &s), STATUS_OK);
  const int32_t expected[] = {1, TOKEN_IMAGE, 7, 8, 9, 2};
  const uint8_t learnt[] = {0, 0, 0, 1, 1, 1};
  assert_int_equal(s.n, 6);
  assert_memory_equal(s.tokens, expected, sizeof expected);
  assert_memory_equal(s.learnt, learnt, sizeof learnt);
  sequence_free(&s);
  assert_int_equal(sequence_respond(&query, NULL, 0, &s), STATUS_OK);
  assert_int_equal(s.n, 3);
  sequence_free(&s);
  sequence_free(&query);
}

/* Marks that a text brings along: "</s>" ends a piece wherever it stands; in an answer it is learnt. */
static void test_end_marks_in_text(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t s;
  talk_set(&talk, TALK("star</s>red", "blue</s>red"));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &s), STATUS_OK);
  int32_t answer = find_learnt(&s, 0, 1);
  assert_pieces(tokenizer, &s, answer, s.n, PIECES("\u2581blue", "</s>", "\u2581red", "</s>"));
  assert_pieces(tokenizer, &s, answer - 6, answer,
                PIECES("\u2581star", "</s>", "\u2581red", "\u2581A", "SSISTANT", ":"));
  assert_int_equal(find_learnt(&s, answer, 0), s.n);
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

/* The sample says whether there is an image, and the first human turn where; "<image>" anywhere else is a
 * word, tokenised as one and never an image place. */
static void test_images_are_known_from_the_sample(void **state) {
  (void)state;
  tokenizer_t *tokenizer = load_words();
  talk_t talk;
  sequence_t s;
  talk_set(&talk, TALK("<image> star <image>", "<image>", "no", "a", "b <image>", "c"));
  assert_int_equal(conversation_images(&talk.conversation), 1);
  assert_true(conversation_asks_for_image(&talk.conversation));
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &s), STATUS_OK);
  assert_int_equal(sequence_images(&s), 1);
  char *text;
  assert_int_equal(tokenizer_decode(tokenizer, s.tokens, s.n, &text, NULL), STATUS_OK);
  assert_non_null(strstr(text, "USER: <image>"));
  assert_non_null(strstr(text, "star ASSISTANT: <image>"));
  assert_non_null(strstr(text, "USER: b <image> ASSISTANT: c"));
  memory_free(text);
  sequence_free(&s);
  talk.conversation.imageless = true;
  assert_int_equal(conversation_images(&talk.conversation), 0);
  assert_int_equal(conversation_sequence(tokenizer, TEMPLATE_V1, &talk.conversation, 0, &s), STATUS_OK);
  assert_int_equal(sequence_images(&s), 0);
  assert_int_equal(tokenizer_decode(tokenizer, s.tokens, s.n, &text, NULL), STATUS_OK);
  assert_non_null(strstr(text, "USER: <image> star <image> ASSISTANT: <image>"));
  memory_free(text);
  sequence_free(&s);
  tokenizer_free(tokenizer);
}

static void test_asking_for_an_image(void **state) {
  (void)state;
  static const struct {
    const char *question;
    bool asks;
  } cases[] = {{"<image>\nq", true}, {"q\n<image> ", true},
               {"<image>", true},    {"the tag <image> in HTML", false},
               {"q", false},         {"<image", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    talk_t talk;
    talk_set(&talk, TALK(cases[i].question, "a", "<image>"));
    assert_int_equal(conversation_asks_for_image(&talk.conversation), cases[i].asks);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_templates),
      cmocka_unit_test(test_image_marks),
      cmocka_unit_test(test_template_names),
      cmocka_unit_test(test_checks),
      cmocka_unit_test(test_mask_by_hand),
      cmocka_unit_test(test_mask_of_a_piece_over_the_border),
      cmocka_unit_test(test_plain),
      cmocka_unit_test(test_query_is_the_masked_part),
      cmocka_unit_test(test_cut),
      cmocka_unit_test(test_query_length),
      cmocka_unit_test(test_later_query),
      cmocka_unit_test(test_replaced_answer),
      cmocka_unit_test(test_respond),
      cmocka_unit_test(test_end_marks_in_text),
      cmocka_unit_test(test_images_are_known_from_the_sample),
      cmocka_unit_test(test_asking_for_an_image),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
