/* The model of a golden file on a device, and its batches. All functions fail the running test on errors. */
#ifndef TESTS_MODEL_GOLDEN_MODEL_H
#define TESTS_MODEL_GOLDEN_MODEL_H

#include "model/arrays.h"
#include "model/pass.h"

typedef struct {
  arrays_t arrays;
  base_t base;
  adapter_t policy, value; /* B is not zero */
  head_t head;
  pass_t *pass;
  int32_t images;
  float *patches; /* (images, P, patch size) */
} golden_model_t;

/* Makes the model of the file PATH on DEVICE with the file's weights; nothing is trained. LARGEST_LOGITS as
 * in pass_options_t. Free with golden_model_free. */
void golden_model_create(device_t *device, const grid_t *grid, const char *path, int64_t largest_logits,
                         golden_model_t *out);
void golden_model_free(golden_model_t *model);

/* This rank's shard (local_rows, local_cols) of the array PREFIX + the weight's name, zero where it is
 * padded; freed by the caller with memory_free. */
double *golden_shard(const param_t *param, const arrays_t *arrays, const char *prefix);

/* Packs the sequences that ARRAYS holds below PREFIX: its first FIRST to FIRST + COUNT - 1. Free with
 * packed_free. */
void golden_pack(const golden_model_t *model, const arrays_t *arrays, const char *prefix, int32_t first,
                 int32_t count, packed_t *out);

/* Supervised training: the rows of a packed batch that predict learnt tokens, and these tokens. */
enum { GOLDEN_LEARNT_MAX = 64 };
typedef struct {
  int32_t n;
  int32_t rows[GOLDEN_LEARNT_MAX], targets[GOLDEN_LEARNT_MAX];
} golden_learnt_t;

/* Those of PACKED, which golden_pack made of the sequences from FIRST on of ARRAYS itself (no prefix); which
 * tokens are learnt is its array sft_learnt. */
void golden_learnt(const arrays_t *arrays, int32_t first, const packed_t *packed, golden_learnt_t *out);

/* Forward pass of PACKED under (base, ADAPTER, HEAD) with the model's images. */
void golden_forward(golden_model_t *model, adapter_t *adapter, head_t *head, const packed_t *packed,
                    bool keep);

/* Compares the gradients of all trained weights of PARAMS with the arrays PREFIX + name, per tensor. Without
 * tensor parallelism, where gradients are whole. */
void golden_compare_gradients(const params_t *params, const arrays_t *arrays, const char *prefix,
                              double tolerance);

#endif
