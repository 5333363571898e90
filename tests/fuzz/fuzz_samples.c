/* Rollouts, scores and kept responses, changed: read whole and in part. */
#include "fuzz_h5.h"

#include "base/memory.h"
#include "io/formats/rollout_file.h"
#include "io/formats/scores_file.h"
#include "io/h5_guard.h"
#include "io/small_files.h"

static const char *const rollout_objects[] = {"/",
                                              "/sample/id",
                                              "/sample/fact_order",
                                              "/sample/xxh3",
                                              "/query/offsets",
                                              "/sample",
                                              "/query/tokens",
                                              "/response/offsets",
                                              "/response/tokens",
                                              "/token/value",
                                              "/text",
                                              "/sample/stopped",
                                              "/text/query/bytes",
                                              "/text/response/bytes",
                                              "/text/query/offsets",
                                              "/token/kl",
                                              "/token/advantage",
                                              "/sample/reward",
                                              NULL};
static const char *const scores_objects[] = {
    "/",          "/offsets",     "/tokens", "/logprob", "/reward", "/text/id/bytes", "/text/id/offsets",
    "/sample/id", "/sample/xxh3", NULL};
static const char *const attributes[] = {
    "settings",         "policy_hash", "step",           "model",   "dataset",
    "dataset_identity", "format",      "format_version", "meaning", NULL};
static fuzz_h5_t rollouts = {.objects = rollout_objects, .attributes = attributes};
static fuzz_h5_t scores = {.objects = scores_objects, .attributes = attributes};
static const char *path;
static volatile uint64_t total;

static void sum(const void *bytes, size_t n) {
  for (size_t i = 0; i < n; i++)
    total += ((const uint8_t *)bytes)[i];
}

static status_code_t read_rollouts(int64_t begin, int64_t count) {
  rollout_file_t rollout;
  rollout_info_t info;
  status_code_t status = rollout_file_read(path, begin, count, &info, &rollout);
  if (status != STATUS_OK) return status;
  const size_t n = (size_t)rollout.samples;
  sum(rollout.query_tokens, 4 * (size_t)rollout.query_offsets[n]);
  for (int k = 0; k < ROLLOUT_TOKEN_COUNT; k++)
    sum(rollout.token[k], 4 * (size_t)rollout.response_offsets[n]);
  sum(rollout.fact_order, 4 * n * (size_t)rollout.fact_width);
  sum(rollout.response_text, (size_t)rollout.response_text_offsets[n]);
  rollout_file_free(&rollout);
  rollout_info_free(&info);
  return STATUS_OK;
}

static status_code_t read_scores(int64_t begin, int64_t count) {
  scores_file_t file;
  scores_info_t info;
  status_code_t status = scores_info_read(path, &info);
  if (status == STATUS_OK) scores_info_free(&info);
  status = scores_file_read(path, begin, count, &file);
  if (status != STATUS_OK) return status;
  const size_t n = (size_t)file.samples;
  sum(file.tokens, 4 * (size_t)file.offsets[n]);
  sum(file.names, (size_t)file.name_offsets[n]);
  sum(file.id, 8 * n);
  if (file.has_reward) sum(file.reward, 4 * n);
  scores_file_free(&file);
  return STATUS_OK;
}

void fuzz_start(void) {
  comm_t *world;
  FUZZ_EXPECT(comm_init(NULL, NULL, &world) == STATUS_OK);
  path = fuzz_path("samples.h5");
  FUZZ_EXPECT(small_rollout_write(world, path) == STATUS_OK);
  fuzz_h5_load(path, &rollouts);
  FUZZ_EXPECT(read_rollouts(0, -1) == STATUS_OK);
  FUZZ_EXPECT(small_scores_write(world, path) == STATUS_OK);
  fuzz_h5_load(path, &scores);
  FUZZ_EXPECT(read_scores(0, -1) == STATUS_OK);
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  fuzz_input_t input = {bytes, n};
  const bool rollout = fuzz_choose(&input, 2) == 0;
  const int64_t begin = (int64_t)fuzz_choose(&input, 4), count = (int64_t)fuzz_choose(&input, 4) - 1;
  fuzz_h5_make(rollout ? &rollouts : &scores, path, &input);
  status_code_t status = rollout ? read_rollouts(begin, count) : read_scores(begin, count);
  FUZZ_EXPECT(!h5_guard_is_broken());
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA || status == STATUS_MEMORY);
  error_clear();
}
