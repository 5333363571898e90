#include "bench/bench_setup.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "perf/perf.h"
#include "session/models.h"

/* The settings' decoder, with a tower that is never run. */
static model_config_t config_of(const settings_t *settings) {
  return (model_config_t){.hidden = (int32_t)settings->bench.hidden,
                          .layers = (int32_t)settings->bench.layers,
                          .heads = (int32_t)settings->bench.heads,
                          .kv_heads = (int32_t)settings->bench.heads,
                          .head_size = (int32_t)(settings->bench.hidden / settings->bench.heads),
                          .mlp = (int32_t)settings->bench.mlp,
                          .vocab = (int32_t)settings->bench.vocab,
                          .rope_base = 10000.0,
                          .norm_eps = 1e-5,
                          .vision_hidden = 8,
                          .vision_layers = 1,
                          .vision_heads = 1,
                          .vision_mlp = 8,
                          .vision_patch = 8,
                          .vision_image_size = 8,
                          .vision_feature_layer = -1,
                          .vision_norm_eps = 1e-5};
}

/* ---- The model ---- */

/* Another base in the same place: what adapters, passes and roles on it have is gone. */
static status_t bench_make_base(bench_t *bench, const base_storage_t *storage) {
  session_t *session = bench->session;
  model_config_t config = config_of(session->settings);
  base_free(&bench->base);
  bench->base = (base_t){0};
  TRY(base_create(session->device, &session->grid, &config, storage, &bench->base));
  bench->storage = *storage;
  double begin = perf_now();
  if (!session->dry) TRY(params_initialise(&bench->base.params, (uint64_t)session->settings->job.seed));
  bench->result->initialise_seconds = perf_now() - begin;
  bench->role = (role_t){.base = &bench->base};
  return STATUS_OK;
}

static bool storage_same(const base_storage_t *a, const base_storage_t *b) {
  return a->projections == b->projections && a->matrices == b->matrices && a->half_keys == b->half_keys;
}

status_t bench_set_base(bench_t *bench, bool trained) {
  const settings_t *settings = bench->session->settings;
  base_storage_t storage = model_storage(bench->session, settings->model.base_format);
  if (trained) storage = (base_storage_t){.mode = TRAIN_DECODER, .half_keys = storage.half_keys};
  if (bench->role.base && storage_same(&bench->storage, &storage)) return STATUS_OK;
  TRY(bench_make_base(bench, &storage));
  if (bench->session->dry) return STATUS_OK;
  log_info("bench      %.1f M weights made in %.1f s, those of projections as %s",
           1e-6 * bench->result->weights, bench->result->initialise_seconds, bench_format_name(bench));
  return STATUS_OK;
}

const char *bench_format_name(const bench_t *bench) {
  static const char *const names[WEIGHT_FORMATS] = {[WEIGHT_BF16] = "bf16", [WEIGHT_NF4] = "nf4"};
  const char *real = bench->session->device->real_type == DTYPE_BF16 ? "bf16" : "f32";
  weight_format_t format = bench->storage.projections;
  return format == WEIGHT_REAL ? real : names[format];
}

status_t bench_set_optimizer(bench_t *bench, params_t *params) {
  const optimizer_set_t sets[] = {{params, 0}};
  const optimizer_options_t options = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_clip = 1.0};
  optimizer_free(bench->optimizer);
  bench->optimizer = NULL;
  if (!params) return STATUS_OK;
  return optimizer_create(bench->session->device, &bench->session->grid, sets, 1, &options,
                          &bench->optimizer);
}

/* ---- Batches ---- */

/* Random tokens, another sequence on each dp group. */
static status_t bench_make_packed(bench_t *bench, int32_t n, int32_t length) {
  const settings_t *settings = bench->session->settings;
  random_stream_t stream =
      random_stream((uint64_t)settings->job.seed, RANDOM_TEST, (uint64_t)bench->session->grid.dp_rank);
  SCOPED_MEMORY int32_t *tokens = NULL;
  SCOPED_MEMORY packed_source_t *sources = NULL;
  TRY(memory_alloc(&tokens, ARENA_OTHER, (size_t)n * (size_t)length, sizeof *tokens));
  TRY(memory_alloc(&sources, ARENA_OTHER, (size_t)n, sizeof *sources));
  for (int64_t i = 0; i < (int64_t)n * length; i++)
    tokens[i] = (int32_t)random_below(&stream, (uint32_t)settings->bench.vocab);
  for (int32_t s = 0; s < n; s++)
    sources[s] = (packed_source_t){tokens + (int64_t)s * length, length, -1};
  return packed_create(sources, n, 1, &bench->packed);
}

static status_t bench_make_targets(bench_t *bench) {
  const packed_t *packed = &bench->packed;
  int32_t rows = packed->offsets[packed->sequences];
  TRY(memory_alloc(&bench->rows, ARENA_OTHER, 2 * (size_t)rows, sizeof *bench->rows));
  bench->targets = bench->rows + rows;
  bench->predictions = 0;
  for (int32_t r = 0; r + 1 < rows; r++) {
    if (packed->positions[r + 1] == 0) continue;
    bench->rows[bench->predictions] = r;
    bench->targets[bench->predictions++] = packed->tokens[r + 1];
  }
  return STATUS_OK;
}

static void bench_free_batch(bench_t *bench) {
  packed_free(&bench->packed);
  bench->packed = (packed_t){0};
  memory_free(bench->rows);
  bench->rows = NULL;
}

status_t bench_set_batch(bench_t *bench, int64_t sequences, int64_t length) {
  bench_free_batch(bench);
  TRY(bench_make_packed(bench, (int32_t)sequences, (int32_t)length));
  return bench_make_targets(bench);
}

/* ---- The cache ---- */

/* Every sequence's pages lie side by side; the places of the prompts in them. */
static void bench_fill_pages(bench_t *bench, int32_t page) {
  const packed_t *packed = &bench->packed;
  for (int32_t p = 0; p < packed->sequences * bench->max_pages; p++)
    bench->pages[p] = p;
  for (int32_t s = 0; s < packed->sequences; s++) {
    bench->which[s] = s;
    for (int32_t t = packed->offsets[s]; t < packed->offsets[s + 1]; t++) {
      int32_t position = packed->positions[t];
      bench->slots[t] = bench->pages[s * bench->max_pages + position / page] * page + position % page;
    }
  }
}

static status_t bench_make_decoding(bench_t *bench) {
  const sampler_options_t sampling = {.temperature = 1.0, .top_p = 1.0, .seed = 1};
  int32_t n = bench->packed.sequences;
  TRY(sampler_create(bench->pass, bench->session->device, &bench->session->grid, &bench->base, &sampling, n,
                     &bench->sampler));
  const decoding_options_t decoding = {.slots = n,
                                       .max_pages = bench->max_pages,
                                       .max_tokens = (int32_t)bench->session->settings->bench.decode_tokens};
  return decoding_create(bench->pass, &bench->cache, bench->sampler, &decoding, &bench->decoding);
}

status_t bench_set_cache(bench_t *bench) {
  const settings_t *settings = bench->session->settings;
  int32_t page = (int32_t)settings->rollout.page, n = bench->packed.sequences;
  int32_t rows = bench->packed.offsets[n], length = rows / n;
  bench_free_cache(bench);
  bench->max_pages = (length + (int32_t)settings->bench.decode_tokens + page - 1) / page;
  const pass_cache_t cache = {.pages = n * bench->max_pages, .page_size = page, .rows = rows, .sequences = n};
  TRY(pass_create_cache(bench->pass, &bench->role, &cache, &bench->cache));
  TRY(memory_alloc(&bench->pages, ARENA_OTHER, (size_t)n * (size_t)bench->max_pages, sizeof *bench->pages));
  TRY(memory_alloc(&bench->which, ARENA_OTHER, (size_t)n, sizeof *bench->which));
  TRY(memory_alloc(&bench->slots, ARENA_OTHER, (size_t)rows, sizeof *bench->slots));
  bench_fill_pages(bench, page);
  return bench_make_decoding(bench);
}

void bench_free_cache(bench_t *bench) {
  decoding_free(&bench->decoding);
  sampler_free(bench->sampler);
  cache_free(&bench->cache);
  memory_free(bench->pages);
  memory_free(bench->which);
  memory_free(bench->slots);
  bench->sampler = NULL;
  bench->pages = bench->which = bench->slots = NULL;
}

/* ---- All ---- */

status_t bench_set_up(session_t *session, bench_result_t *result, bench_t *bench) {
  const pass_options_t options = {.recompute = settings_recompute(session->settings)};
  const model_config_t config = config_of(session->settings);
  *bench = (bench_t){.session = session, .result = result};
  result->weights = (double)config_decoder_weights(&config);
  return pass_create(session->device, &session->grid, &options, &bench->pass);
}

void bench_take_down(bench_t *bench) {
  optimizer_free(bench->optimizer);
  bench_free_cache(bench);
  pass_free(bench->pass);
  adapter_free(&bench->adapter);
  base_free(&bench->base);
  bench_free_batch(bench);
}
