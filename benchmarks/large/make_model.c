/* make_model [-l LAYERS] [-c HIDDEN] [-f MLP] [-h HEADS] [-v VOCAB] [-s SHARD_MB] FOLDER: a LLaMA of these
 * sizes (Vicuna-7B's where they are left out) as it would be published: sharded safetensors in bf16 with an
 * index, and config.json. The weights are random, uniform with the deviation that training begins with. */
#include "base/half.h"
#include "base/memory.h"
#include "io/file.h"
#include "io/tensors/safetensors_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20, LAYER_TENSORS = 9, NAME_MAX_BYTES = 64 };
static const float deviation = 0.02f, root_three = 1.7320508f;
static const int64_t megabyte = 1000000;

typedef struct {
  int64_t layers, hidden, mlp, heads, vocab, shard_mb;
  const char *folder;
} model_t;

typedef struct {
  tensor_spec_t *specs;
  char (*names)[NAME_MAX_BYTES];
  int64_t count;
} list_t;

/* A matrix, or a vector where COLS is 0. */
static void list_add(list_t *list, int64_t rows, int64_t cols, const char *format, long long layer) {
  char *name = list->names[list->count];
  snprintf(name, NAME_MAX_BYTES, format, layer);
  list->specs[list->count++] =
      (tensor_spec_t){.name = name, .type = TENSOR_BF16, .dims = cols > 0 ? 2 : 1, .shape = {rows, cols}};
}

static void list_fill(list_t *list, const model_t *model) {
  int64_t c = model->hidden, f = model->mlp;
  list_add(list, model->vocab, c, "model.embed_tokens.weight", 0);
  for (int64_t l = 0; l < model->layers; l++) {
    list_add(list, c, c, "model.layers.%lld.self_attn.q_proj.weight", l);
    list_add(list, c, c, "model.layers.%lld.self_attn.k_proj.weight", l);
    list_add(list, c, c, "model.layers.%lld.self_attn.v_proj.weight", l);
    list_add(list, c, c, "model.layers.%lld.self_attn.o_proj.weight", l);
    list_add(list, f, c, "model.layers.%lld.mlp.gate_proj.weight", l);
    list_add(list, f, c, "model.layers.%lld.mlp.up_proj.weight", l);
    list_add(list, c, f, "model.layers.%lld.mlp.down_proj.weight", l);
    list_add(list, c, 0, "model.layers.%lld.input_layernorm.weight", l);
    list_add(list, c, 0, "model.layers.%lld.post_attention_layernorm.weight", l);
  }
  list_add(list, c, 0, "model.norm.weight", 0);
  list_add(list, model->vocab, c, "lm_head.weight", 0);
}

/* N bf16 to BYTES: ones for a norm, else 16 bits of a 64-bit xorshift generator each. */
static void piece_fill(bool norm, uint64_t *state, float *values, int64_t n, uint16_t *bytes) {
  const float step = deviation * root_three / 32768.0f;
  for (int64_t i = 0; i < n; i += 4) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    for (int64_t k = 0; k < 4 && i + k < n; k++)
      values[i + k] = norm ? 1.0f : step * (float)(int16_t)(uint16_t)(*state >> 16 * k);
  }
  half_to_bf16(values, bytes, (size_t)n);
}

static status_t tensors_write(safetensors_writer_t *writer, const list_t *list) {
  SCOPED_MEMORY float *values = NULL;
  SCOPED_MEMORY uint16_t *bytes = NULL;
  uint64_t state = 0x9E3779B97F4A7C15u;
  TRY(memory_alloc(&values, ARENA_IO, PIECE, sizeof *values));
  TRY(memory_alloc(&bytes, ARENA_IO, PIECE, sizeof *bytes));
  for (int64_t t = 0; t < list->count; t++) {
    const tensor_spec_t *spec = &list->specs[t];
    bool norm = spec->dims == 1;
    int64_t elements = norm ? spec->shape[0] : spec->shape[0] * spec->shape[1];
    for (int64_t at = 0; at < elements; at += PIECE) {
      int64_t n = elements - at < PIECE ? elements - at : PIECE;
      piece_fill(norm, &state, values, n, bytes);
      TRY(safetensors_write(writer, t, at, n, bytes));
    }
  }
  return STATUS_OK;
}

static status_t config_write_sizes(const model_t *model) {
  char path[FILE_MAX_PATH], text[1024];
  int n = snprintf(
      text, sizeof text,
      "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": \"silu\", "
      "\"hidden_size\": %lld, \"intermediate_size\": %lld, \"num_hidden_layers\": %lld, "
      "\"num_attention_heads\": %lld, \"num_key_value_heads\": %lld, \"vocab_size\": %lld, "
      "\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false, "
      "\"torch_dtype\": \"bfloat16\"}\n",
      (long long)model->hidden, (long long)model->mlp, (long long)model->layers, (long long)model->heads,
      (long long)model->heads, (long long)model->vocab);
  TRY(file_join(path, model->folder, "config.json", NULL));
  return file_write(path, text, (size_t)n);
}

static status_t model_write(comm_t *world, const model_t *model) {
  SCOPED_MEMORY tensor_spec_t *specs = NULL;
  SCOPED_MEMORY char(*names)[NAME_MAX_BYTES] = NULL;
  safetensors_writer_t *writer;
  size_t most = (size_t)(model->layers * LAYER_TENSORS + 3);
  TRY(memory_alloc(&specs, ARENA_IO, most, sizeof *specs));
  TRY(memory_alloc(&names, ARENA_IO, most, sizeof *names));
  list_t list = {.specs = specs, .names = names};
  list_fill(&list, model);
  TRY(safetensors_create(world, model->folder, "model", specs, list.count, model->shard_mb * megabyte,
                         &writer));
  TRY(safetensors_finish(writer, tensors_write(writer, &list)));
  return config_write_sizes(model);
}

static bool model_set(model_t *model, int option, const char *text) {
  int64_t value = atoll(text);
  if (option == 'l') model->layers = value;
  if (option == 'c') model->hidden = value;
  if (option == 'f') model->mlp = value;
  if (option == 'h') model->heads = value;
  if (option == 'v') model->vocab = value;
  if (option == 's') model->shard_mb = value;
  return value > 0;
}

int main(int argc, char **argv) {
  comm_t *world;
  model_t model = {.layers = 32, .hidden = 4096, .mlp = 11008, .heads = 32, .vocab = 32000, .shard_mb = 5000};
  bool usable = comm_init(&argc, &argv, &world) == STATUS_OK;
  for (int option; usable && (option = getopt(argc, argv, "l:c:f:h:v:s:")) != -1;)
    usable = option != '?' && model_set(&model, option, optarg);
  if (!usable || optind + 1 != argc) {
    fprintf(
        stderr,
        "usage: make_model [-l LAYERS] [-c HIDDEN] [-f MLP] [-h HEADS] [-v VOCAB] [-s SHARD_MB] FOLDER\n");
    return 2;
  }
  model.folder = argv[optind];
  status_code_t status = model_write(world, &model);
  if (status != STATUS_OK) fprintf(stderr, "%s\n", error_message());
  comm_finish(world);
  return status_exit(status);
}
