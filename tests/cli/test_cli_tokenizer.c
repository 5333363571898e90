/* A model with a tokenizer.json: trained under the template of its kind, stored with its tokenizer, asked. */
#define _GNU_SOURCE /* memmem */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TOKENIZER TEST_SOURCE_DIR "/text/golden/bpe_qwen2.json"
#define CHATML "--set", "model.template=chatml"

static const char generate_input[] =
    "&job task = 'generate' run_dir = 'asked' /\n"
    "&model base = 'run/model.h5' /\n"
    "&generate dataset = 'world/prompts.h5' max_tokens = 8 output = 'asked/a.json' /\n"
    "&log tensorboard = .false. /\n";

/* The tokenizer goes into the model's file as it is. */
static void assert_stored(const char *path) {
  static char file[1 << 23], tokenizer[1 << 16];
  size_t n = cli_read(path, file, sizeof file), m = cli_read(TOKENIZER, tokenizer, sizeof tokenizer);
  assert_in_range(m, 1000, sizeof tokenizer - 2);
  assert_non_null(memmem(file, n, tokenizer, m));
}

static void a_tokenizer_json_is_trained_and_asked(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(2, &result, CHATML, "--set", "model.tokenizer=" TOKENIZER, "--set", "data.max_len=512",
          "train.nml");
  cli_expect(&result, 0);
  assert_stored("run/model.h5");
  cli_write("generate.nml", generate_input, sizeof generate_input - 1);
  CLI_RUN(1, &result, CHATML, "generate.nml");
  cli_expect(&result, 0);
  assert_true(cli_exists("asked/a.json"));
}

static const char export_input[] =
    "&job task = 'export' run_dir = 'exporting' /\n"
    "&model base = 'run/model.h5' /\n&export output = 'exported' naming = 'llava' /\n";
static const char import_input[] = "&job task = 'import' run_dir = 'importing' /\n"
                                   "&import weights = 'exported' output = 'imported.h5' /\n";

/* It goes out under its own name, and comes in again. */
static void a_tokenizer_json_is_exported_and_imported(void **state) {
  static char out[1 << 16], given[1 << 16];
  cli_result_t result;
  (void)state;
  cli_write("export.nml", export_input, sizeof export_input - 1);
  CLI_RUN(2, &result, "export.nml");
  cli_expect(&result, 0);
  size_t n = cli_read("exported/tokenizer.json", out, sizeof out);
  assert_int_equal(n, cli_read(TOKENIZER, given, sizeof given));
  assert_memory_equal(out, given, n);
  assert_false(cli_exists("exported/tokenizer.model"));
  cli_write("import.nml", import_input, sizeof import_input - 1);
  CLI_RUN(1, &result, "import.nml");
  cli_expect(&result, 0);
  assert_stored("imported.h5");
}

/* A template whose tokens the tokenizer lacks is a mistake of the input, not tokenised as other text. */
static void another_template_is_refused(void **state) {
  cli_result_t result;
  (void)state;
  CLI_RUN(2, &result, "--set", "model.template=llama3", "--set", "job.run_dir=refused", "generate.nml");
  cli_expect_one_message(&result, 2);
  CLI_RUN(1, &result, CHATML, "--set", "job.run_dir=other", "train.nml"); /* the world's tokenizer.model */
  cli_expect_one_message(&result, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_tokenizer_json_is_trained_and_asked),
      cmocka_unit_test(a_tokenizer_json_is_exported_and_imported),
      cmocka_unit_test(another_template_is_refused),
  };
  return cmocka_run_group_tests(tests, cli_enter_world, cli_leave);
}
