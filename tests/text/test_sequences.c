/* Token sequences and masks against transformers' tokenizer and LLaVA's rule (golden/make_text.py). */
#include "text_test.h"

#include <stdlib.h>

typedef struct {
  const char *name;
  template_t template;
  const char *const *texts;
} sequences_case_t;

enum { TOKENS_MAX = 1024 };

static int32_t read_line(FILE *file, char *name, int32_t *tokens, int *learnt) {
  int32_t n = 0;
  if (fscanf(file, "%31s", name) != 1) return -1;
  while (fscanf(file, " %d:%d", &tokens[n], &learnt[n]) == 2) {
    n++;
    assert_in_range(n, 0, TOKENS_MAX - 1);
  }
  return n;
}

static void check(const tokenizer_t *tokenizer, const sequences_case_t *c, int32_t n, const int32_t *tokens,
                  const int *learnt) {
  talk_t talk;
  sequence_t sequence;
  talk_set(&talk, c->texts);
  assert_int_equal(conversation_sequence(tokenizer, c->template, &talk.conversation, 0, &sequence),
                   STATUS_OK);
  assert_int_equal(sequence.n, n);
  for (int32_t i = 0; i < n; i++) {
    assert_int_equal(sequence.tokens[i], tokens[i]);
    assert_int_equal(sequence.learnt[i], learnt[i]);
  }
  sequence_free(&sequence);
}

static void test_golden(void **state) {
  (void)state;
  char twenty[20 * 20 + 1] = "";
  for (int i = 0; i < 20; i++)
    strcat(twenty, "A small red square, ");
  const sequences_case_t cases[] = {
      {"one_turn", TEMPLATE_V1, TALK("What is in the image?\n<image>", "A red circle.")},
      {"two_turns", TEMPLATE_V1,
       TALK("<image>\nIs there a star?", "No, there is not.", "What is left of the square?",
            "A blue circle")},
      {"mark_inside", TEMPLATE_V1, TALK("What <image> is in <image> it ?", "Two small triangles.")},
      {"no_image", TEMPLATE_V1, TALK("What is red?", "A square.")},
      {"only_image", TEMPLATE_V1, TALK("<image>", "A star.")},
      {"unicode", TEMPLATE_V1,
       TALK("<image>\n\u00dcber was? \U0001f600", "Ein Kreis \u2013 rot.\nUnd ein Stern?")},
      {"answer_starts_with_line_end", TEMPLATE_V1, TALK("<image>\nList them.", "\n1. circle\n2. star")},
      {"spaces", TEMPLATE_V1, TALK("  two  spaces ", " leading space")},
      {"long", TEMPLATE_V1, TALK("<image>\nDescribe it.", twenty, "Is it?", "Yes", "And?", "No")},
      {"plain", TEMPLATE_PLAIN, TALK("<image>\nDescribe it.", "a red circle left of a star")},
  };
  tokenizer_t *tokenizer = load_words();
  FILE *file = fopen(TEST_SOURCE_DIR "/text/golden/sequences.txt", "r");
  assert_non_null(file);
  char name[32];
  static int32_t tokens[TOKENS_MAX];
  static int learnt[TOKENS_MAX];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int32_t n = read_line(file, name, tokens, learnt);
    assert_string_equal(name, cases[i].name);
    check(tokenizer, &cases[i], n, tokens, learnt);
  }
  assert_int_equal(read_line(file, name, tokens, learnt), -1);
  fclose(file);
  tokenizer_free(tokenizer);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
