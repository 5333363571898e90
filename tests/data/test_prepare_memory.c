/* Memory of prepare does not grow with the bytes of a file, only with the number of its samples. */
#define _GNU_SOURCE
#include "mpi_test.h"

#include "prepare_setting.h"

enum { FEW = 16, MANY = 80, SAMPLE_BYTES = 256 << 10 };

/* An array of samples, or a sample a line, with facts to match. */
static void write_long_talks(const prepare_setting_t *setting, int samples, bool lines) {
  static char text[SAMPLE_BYTES + 1];
  FILE *talks = fopen(setting->talks, "w"), *facts = fopen(setting->facts, "w");
  assert_non_null(talks);
  assert_non_null(facts);
  memset(text, 'x', SAMPLE_BYTES);
  fputs(lines ? "" : "[", talks);
  fputs("{", facts);
  for (int i = 0; i < samples; i++) {
    fprintf(talks, "%s{\"id\": %d, \"image\": \"sub/%d.jpg\", \"conversations\": [{\"from\": \"human\", ",
            i == 0 || lines ? "" : ",\n", i, i % PICTURES);
    fprintf(talks, "\"value\": \"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"%s\"}]}%s", text,
            lines ? "\n" : "");
    fprintf(facts, "%s\"sub/%d.jpg\": [\"%s\"]", i == 0 ? "" : ",\n", i % (2 * PICTURES), text);
  }
  fputs(lines ? "" : "]", talks);
  fputs("}", facts);
  fclose(talks);
  fclose(facts);
}

/* Bytes that all arenas have grown to. */
static int64_t peak_of_arenas(void) {
  int64_t bytes = 0;
  for (arena_t a = 0; a < ARENA_COUNT; a++)
    bytes += (int64_t)memory_usage(a).peak;
  return bytes;
}

static int64_t peak_with(int samples, bool lines) {
  prepare_setting_t setting;
  dataset_sample_t sample;
  setting_start(&setting);
  if (data_test_first()) write_long_talks(&setting, samples, lines);
  assert_ok(comm_barrier(mpi_test_world()));
  setting.options.facts = setting.facts;
  memory_reset_peaks();
  dataset_t *dataset = prepared(&setting, NULL);
  const int64_t peak = peak_of_arenas();
  assert_ok(dataset_sample_read(dataset, samples - 1, &sample));
  assert_int_equal(sample.conversation.turns[1].text.n, SAMPLE_BYTES);
  assert_int_equal(sample.fact_count, 1);
  assert_int_equal(sample.facts[0].n, SAMPLE_BYTES);
  dataset_sample_free(&sample);
  dataset_close(dataset);
  setting_end(&setting);
  return peak;
}

static void memory_is_bounded(void **state) {
  const bool lines = *state != NULL;
  const int64_t few = peak_with(FEW, lines), many = peak_with(MANY, lines);
  if (many - few > (MANY - FEW) * SAMPLE_BYTES / 16)
    fail_msg("%lld bytes more for %d samples more of %d bytes", (long long)(many - few), MANY - FEW,
             SAMPLE_BYTES);
}

int main(int argc, char **argv) {
  static bool lines = true;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(memory_is_bounded, NULL),
      cmocka_unit_test_prestate(memory_is_bounded, &lines),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
