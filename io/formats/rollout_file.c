#include "io/formats/rollout_file.h"

#include "base/memory.h"
#include "io/formats/sample_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const h5_format_t format = {"llava_rlhf_rollout", 3,
                                   "the run that made it makes another if that step is run again"};

/* ---- columns ---- */

enum { RAGGED_QUERY, RAGGED_RESPONSE, RAGGED_QUERY_TEXT, RAGGED_RESPONSE_TEXT, RAGGED_COUNT };

static const struct {
  const char *path, *meaning;
} token_columns[ROLLOUT_TOKEN_COUNT] = {
    [ROLLOUT_LOGPROB] = {"/token/logprob",
                         "log-probability at rollout.temperature under the policy before the update, nats; "
                         "the sampler's where ppo.old_logprob = 'sampled'"},
    [ROLLOUT_SAMPLER_LOGPROB] = {"/token/sampler_logprob",
                                 "the same as the sampler computed it, before top_p and top_k, nats"},
    [ROLLOUT_REF_LOGPROB] = {"/token/ref_logprob",
                             "log-probability at rollout.temperature under the reference policy, nats"},
    [ROLLOUT_VALUE] = {"/token/value", "value before the update"},
    [ROLLOUT_ENTROPY] = {"/token/entropy", "entropy of the policy's distribution that logprob is of, nats"},
    [ROLLOUT_REF_ENTROPY] = {"/token/ref_entropy", "entropy of the reference policy's distribution, nats"},
    [ROLLOUT_KL] = {"/token/kl",
                    "estimate (ppo.kl_estimator) of the divergence from the reference policy, nats"},
    [ROLLOUT_SHAPED_REWARD] = {"/token/shaped_reward",
                               "-ppo.kl_coef * kl; at the last token plus reward, length_bonus, "
                               "reward.correct_bonus * correct and reward.bias; before ppo.reward_scale or "
                               "whitening"},
    [ROLLOUT_ADVANTAGE] = {"/token/advantage", "advantage after whitening over all tokens of the step"},
    [ROLLOUT_RETURN] = {"/token/return",
                        "target of the value: advantage before whitening + value, of shaped rewards after "
                        "ppo.reward_scale or whitening"},
};

static void rollout_file_add_ragged(table_t *table, const char *path, int64_t **offsets) {
  table->ragged[table->ragged_count++] = (table_ragged_t){path, offsets};
}

static void rollout_file_add_samples(table_t *table, rollout_file_t *rollout) {
  sample_table_add(table, "/sample/id", "row of the dataset", H5TYPE_I64, -1, &rollout->id);
  sample_table_add(table, "/sample/image", "image of the dataset, -1 for none", H5TYPE_I64, -1,
                   &rollout->image);
  sample_table_add(table, "/sample/answer_type", "1 general, 2..5 option A..D, 6 truth is No, 7 truth is Yes",
                   H5TYPE_I32, -1, &rollout->answer_type);
  sample_table_add(table, "/sample/raw_reward", "the reward model's score", H5TYPE_F32, -1,
                   &rollout->raw_reward);
  sample_table_add(
      table, "/sample/reward",
      "raw_reward where stopped; else raw_reward + reward.no_stop_penalty, or the penalty alone unless "
      "reward.relative_penalty",
      H5TYPE_F32, -1, &rollout->reward);
  sample_table_add(table, "/sample/length_bonus",
                   "the term for the length as it is added, with all its factors", H5TYPE_F32, -1,
                   &rollout->length_bonus);
  sample_table_add(table, "/sample/length_multiplier", "the sample's own factor in length_bonus", H5TYPE_F32,
                   -1, &rollout->length_multiplier);
  sample_table_add(table, "/sample/correct",
                   "-0.5, 0, 0.5 or 1: does the answer match the known truth; before reward.correct_bonus",
                   H5TYPE_F32, -1, &rollout->correct);
  sample_table_add(table, "/sample/stopped", "1 if the response ends with the end-of-sequence token",
                   H5TYPE_U8, -1, &rollout->stopped);
  sample_table_add(table, "/sample/fact_order",
                   "order in which the reward model read the facts, -1 beyond them and where it read none",
                   H5TYPE_I32, -1, &rollout->fact_order);
  table->columns[table->column_count - 1].matrix = true;
  table->columns[table->column_count - 1].width = rollout->fact_width;
}

/* The file's layout, with the places of ROLLOUT's arrays. */
static table_t rollout_file_table_make(rollout_file_t *rollout) {
  table_t table = {.samples = rollout->samples, .index = rollout->index};
  rollout_file_add_ragged(&table, "/query/offsets", &rollout->query_offsets);
  rollout_file_add_ragged(&table, "/response/offsets", &rollout->response_offsets);
  rollout_file_add_ragged(&table, "/text/query/offsets", &rollout->query_text_offsets);
  rollout_file_add_ragged(&table, "/text/response/offsets", &rollout->response_text_offsets);
  rollout_file_add_samples(&table, rollout);
  sample_table_add(&table, "/query/tokens", "token ids, -200 for an image", H5TYPE_I32, RAGGED_QUERY,
                   &rollout->query_tokens);
  sample_table_add(&table, "/response/tokens", "token ids, with the one that ended the response", H5TYPE_I32,
                   RAGGED_RESPONSE, &rollout->response_tokens);
  for (int k = 0; k < ROLLOUT_TOKEN_COUNT; ++k)
    sample_table_add(&table, token_columns[k].path, token_columns[k].meaning, H5TYPE_F32, RAGGED_RESPONSE,
                     &rollout->token[k]);
  sample_table_add(&table, "/text/query/bytes", "UTF-8", H5TYPE_U8, RAGGED_QUERY_TEXT, &rollout->query_text);
  sample_table_add(&table, "/text/response/bytes", "UTF-8", H5TYPE_U8, RAGGED_RESPONSE_TEXT,
                   &rollout->response_text);
  return table;
}

/* ---- writing ---- */

status_t rollout_file_path(char path[FILE_MAX_PATH], const char *run_dir, int64_t step) {
  char name[48];
  snprintf(name, sizeof name, "step_%08" PRId64 ".h5", step);
  return file_join(path, run_dir, "rollouts", name);
}

static status_t rollout_file_info_write(h5_file_t *file, const rollout_info_t *info) {
  TRY(h5_attr_write_i64(file, "/", "step", &info->step, 1));
  TRY(h5_attr_write_text(file, "/", "policy_hash", info->policy_hash));
  return h5_attr_write_text(file, "/", "settings", info->settings);
}

static status_t rollout_fill(h5_file_t *file, comm_t *comm, const rollout_info_t *info,
                             const rollout_file_t *rollout) {
  rollout_file_t copy = *rollout; /* the table keeps addresses of its pointers, and only reads through them */
  table_t table = rollout_file_table_make(&copy);
  TRY(comm_agree(comm, rollout_file_info_write(file, info)));
  return sample_table_write(file, comm, &table);
}

static status_t rollout_write(comm_t *comm, const char *path, const rollout_info_t *info,
                              const rollout_file_t *rollout) {
  char partial[FILE_MAX_PATH];
  h5_file_t *file;
  TRY(comm_agree(comm, comm_rank(comm) == 0 ? file_make_parent(path) : STATUS_OK));
  TRY(file_partial(partial, path));
  TRY(h5_create(partial, comm, &format, &file));
  return file_commit(comm, path, h5_end(file, rollout_fill(file, comm, info, rollout)), false);
}

status_t rollout_file_write(comm_t *comm, const char *path, const rollout_info_t *info,
                            const rollout_file_t *rollout) {
  return error_context(rollout_write(comm, path, info, rollout), "while writing the rollouts %s", path);
}

/* ---- reading ---- */

static status_t rollout_read(h5_file_t *file, int64_t begin, int64_t count, rollout_info_t *info,
                             rollout_file_t *rollout) {
  table_t table = rollout_file_table_make(rollout);
  TRY(sample_table_read(file, begin, count, &table, &rollout->index));
  rollout->samples = table.samples;
  for (int c = 0; c < table.column_count; ++c) {
    if (table.columns[c].matrix) rollout->fact_width = table.columns[c].width;
  }
  if (!info) return STATUS_OK;
  TRY(h5_attr_read_i64(file, "/", "step", &info->step, 1));
  TRY(h5_attr_read_text(file, "/", "policy_hash", &info->policy_hash));
  return h5_attr_read_text(file, "/", "settings", &info->settings);
}

status_t rollout_file_read(const char *path, int64_t begin, int64_t count, rollout_info_t *info,
                           rollout_file_t *rollout) {
  SCOPED(h5_abandon_at) h5_file_t *file = NULL;
  *rollout = (rollout_file_t){0};
  if (info) *info = (rollout_info_t){0};
  TRY(h5_open(path, H5_READ, &format, &file));
  status_code_t status = rollout_read(file, begin, count, info, rollout);
  if (status == STATUS_OK) return STATUS_OK;
  rollout_file_free(rollout);
  if (info) rollout_info_free(info);
  return status;
}

void rollout_file_free(rollout_file_t *rollout) {
  table_t table = rollout_file_table_make(rollout);
  sample_table_free(&table);
  memory_free(rollout->index);
  *rollout = (rollout_file_t){0};
}

void rollout_info_free(rollout_info_t *info) {
  memory_free(info->policy_hash);
  memory_free(info->settings);
  *info = (rollout_info_t){0};
}
