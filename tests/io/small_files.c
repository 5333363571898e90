#include "small_files.h"

#include "io/formats/dataset.h"
#include "io/formats/rollout_file.h"
#include "io/formats/scores_file.h"

#include <stdio.h>
#include <string.h>

enum { ROWS = 6, COLS = 10 };

const h5_format_t small_weights_format = {"small", 1, "make it again"};

static status_t annotate(h5_file_t *file, void *context) {
  (void)context;
  TRY(weights_write_text(file, "/weights", "config", "{\"eps\": 1e-05}"));
  return weights_write_bytes(file, "/tokenizer", "bytes", "tokens", 6);
}

/* One tensor by rows of all ranks, others by rank 0. */
status_t small_weights_write(comm_t *comm, const char *path) {
  static const char *const names[] = {"/weights/a", "/weights/b.weight", "/weights/b.bias",
                                      "/heads/reward/weight"};
  int64_t begin = ROWS * comm_rank(comm) / comm_size(comm),
          end = ROWS * (comm_rank(comm) + 1) / comm_size(comm);
  float data[ROWS * COLS];
  weights_item_t items[4];
  for (int i = 0; i < ROWS * COLS; ++i)
    data[i] = (float)i;
  for (int k = 0; k < 4; ++k)
    items[k] = (weights_item_t){.path = names[k],
                                .ndim = 2,
                                .shape = {ROWS, COLS},
                                .dtype = k == 1 ? DTYPE_BF16 : DTYPE_F32,
                                .rows = ROWS,
                                .cols = COLS,
                                .row_begin = k == 0 ? begin : 0,
                                .row_count = k == 0 ? end - begin : ROWS,
                                .col_count = COLS,
                                .data = k == 0 ? data + begin * COLS : data,
                                .mine = k == 0 || comm_rank(comm) == 0,
                                .meaning = "a weight"};
  const weights_spec_t spec = {.format = &small_weights_format, .annotate = annotate};
  return weights_write(comm, path, &spec, items, 4);
}

/* ---- Dataset ---- */

enum { IMAGES = 4, SAMPLES = 5 };

static status_t texts_write(dataset_writer_t *writer) {
  const turn_t turns[2] = {{TURN_HUMAN, text_view("what is it?")}, {TURN_GPT, text_view("a square")}};
  char name[16];
  for (int i = 0; i < IMAGES; ++i) {
    snprintf(name, sizeof name, "%03d.jpg", i);
    TRY(dataset_writer_name(writer, text_view(name)));
  }
  TRY(dataset_writer_fact(writer, text_view("it is red")));
  for (int i = 0; i < SAMPLES; ++i) {
    const dataset_sample_t sample = {.id = text_view("id"),
                                     .conversation = {.turns = turns, .count = 2},
                                     .image = i % IMAGES,
                                     .caption_type = 1,
                                     .length_bonus = 1,
                                     .fact_count = i % 2,
                                     .held_out = i == 3};
    TRY(dataset_writer_sample(writer, &sample));
  }
  return STATUS_OK;
}

static status_t images_write(comm_t *comm, dataset_writer_t *writer) {
  uint8_t bytes[64];
  for (int i = comm_rank(comm); i < IMAGES; i += comm_size(comm)) {
    memset(bytes, i + 1, sizeof bytes);
    TRY(dataset_writer_image(writer, i, bytes, 8, 8));
  }
  return STATUS_OK;
}

static status_t contents_write(comm_t *comm, dataset_writer_t *writer) {
  const int64_t sizes[IMAGES] = {64, 10, 33, 64};
  const dataset_counts_t counts = {.samples = SAMPLES,
                                   .texts = 3 * SAMPLES,
                                   .text_bytes = SAMPLES * (int64_t)strlen("idwhat is it?a square"),
                                   .facts = 1,
                                   .fact_bytes = (int64_t)strlen("it is red")};
  TRY(dataset_writer_images(writer, sizes, IMAGES));
  TRY(comm_agree(comm, images_write(comm, writer)));
  TRY(comm_agree(comm, dataset_writer_texts(writer, &counts, IMAGES * 7)));
  return comm_agree(comm, comm_rank(comm) == 0 ? texts_write(writer) : STATUS_OK);
}

status_t small_dataset_write(comm_t *comm, const char *path) {
  dataset_writer_t *writer;
  TRY(dataset_writer_open(comm, path, &writer));
  status_code_t status = contents_write(comm, writer);
  if (status == STATUS_OK) return dataset_writer_close(writer, "{\"files\": []}", 0);
  dataset_writer_abandon(writer);
  return status;
}

/* ---- Rollouts and scores: two samples of rank 0, one of the last rank ---- */

status_t small_rollout_write(comm_t *comm, const char *path) {
  bool last = comm_rank(comm) == comm_size(comm) - 1;
  int64_t n = (comm_rank(comm) == 0 ? 2 : 0) + last;
  int64_t index[3] = {comm_rank(comm) == 0 ? 0 : 2, 1, 2}, offsets[4] = {0, 2, 4, 6};
  int32_t tokens[6] = {1, 2, 1, 2, 1, 2}, types[3] = {1, 1, 1}, order[3] = {0, 0, 0};
  float values[6] = {1, 2, 1, 2, 1, 2}, ones[3] = {1, 1, 1};
  uint8_t stopped[3] = {1, 1, 1};
  char text[] = "ababab", hash[] = "abc", settings[] = "&job /\n";
  const rollout_info_t info = {1, hash, settings};
  rollout_file_t rollout = {.samples = n,
                            .index = index,
                            .query_offsets = offsets,
                            .query_tokens = tokens,
                            .response_offsets = offsets,
                            .response_tokens = tokens,
                            .id = index,
                            .image = index,
                            .answer_type = types,
                            .raw_reward = ones,
                            .reward = ones,
                            .length_bonus = ones,
                            .length_multiplier = ones,
                            .correct = ones,
                            .stopped = stopped,
                            .fact_width = 1,
                            .fact_order = order,
                            .query_text_offsets = offsets,
                            .query_text = text,
                            .response_text_offsets = offsets,
                            .response_text = text};
  for (int k = 0; k < ROLLOUT_TOKEN_COUNT; ++k)
    rollout.token[k] = values;
  return rollout_file_write(comm, path, &info, &rollout);
}

static status_t rounds_write(comm_t *comm, scores_writer_t *writer) {
  bool last = comm_rank(comm) == comm_size(comm) - 1;
  int64_t index[3] = {comm_rank(comm) == 0 ? 0 : 2, 1, 2}, offsets[4] = {0, 2, 4, 6};
  int32_t tokens[6] = {1, 2, 1, 2, 1, 2};
  float values[6] = {1, 2, 1, 2, 1, 2};
  char names[] = "ababab";
  const scores_file_t round = {.samples = (comm_rank(comm) == 0 ? 2 : 0) + last,
                               .index = index,
                               .id = index,
                               .name_offsets = offsets,
                               .names = names,
                               .offsets = offsets,
                               .tokens = tokens,
                               .logprob = values,
                               .has_reward = true,
                               .reward = values};
  TRY(scores_writer_append(writer, &round));
  return scores_writer_append(writer, &round);
}

status_t small_scores_write(comm_t *comm, const char *path) {
  char name[] = "x.h5";
  const scores_info_t info = {name, name, 7};
  scores_writer_t *writer;
  TRY(scores_writer_open(comm, path, &info, true, &writer));
  status_code_t status = rounds_write(comm, writer);
  if (status == STATUS_OK) return scores_writer_close(writer);
  scores_writer_abandon(writer);
  return status;
}
