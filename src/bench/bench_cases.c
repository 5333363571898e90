#include "bench/bench_cases.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "perf/perf.h"
#include "rollout/decoding.h"
#include "session/models.h"
#include "tensor/peaks.h"
#include "train/optimizer.h"

#include <stdio.h>
#include <string.h>

enum { LORA_R = 64, LORA_ALPHA = 16 };
/* Arrays for the measurement of memory: as large as the weights, within bounds. */
enum { STREAM_LEAST = 1 << 20, STREAM_MOST = 1 << 26 };
static const double learning_rate = 1e-5;

typedef struct {
  session_t *session;
  bench_result_t *result;
  base_t base;
  adapter_t adapter;
  pass_t *pass;
  role_t role;
  optimizer_t *optimizer;
  packed_t packed;
  int32_t *rows, *targets; /* (T - B): each token but the last of a sequence predicts the next */
  int32_t predictions;
  cache_t cache;
  sampler_t *sampler;
  int32_t max_pages;
  decoding_t decoding;
  int32_t *pages;  /* (B, max_pages) */
  int32_t *which;  /* (B): 0, 1, 2, ... */
  int32_t *slots;  /* (T): of the prompts */
  int32_t decoded; /* sequences that are decoded at once */
} bench_cases_bench_t;

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

static status_t bench_check_settings(const settings_t *settings) {
  if (settings->bench.length < 2)
    return error_set(STATUS_INPUT, "bench.length = %lld, expected at least 2: a token and the next",
                     (long long)settings->bench.length);
  if (settings->bench.hidden % settings->bench.heads == 0) return STATUS_OK;
  return error_set(STATUS_INPUT, "bench.heads = %lld does not divide bench.hidden = %lld",
                   (long long)settings->bench.heads, (long long)settings->bench.hidden);
}

/* ---- What is set up ---- */

/* Random tokens, another sequence on each dp group. */
static status_t bench_make_batch(bench_cases_bench_t *bench) {
  const settings_t *settings = bench->session->settings;
  int32_t n = (int32_t)settings->bench.sequences, length = (int32_t)settings->bench.length;
  random_stream_t stream =
      random_stream((uint64_t)settings->job.seed, RANDOM_TEST, (uint64_t)bench->session->grid.dp_rank);
  int32_t *tokens;
  packed_source_t *sources;
  TRY(memory_alloc(&tokens, ARENA_OTHER, (size_t)n * (size_t)length, sizeof *tokens));
  status_code_t status = memory_alloc(&sources, ARENA_OTHER, (size_t)n, sizeof *sources);
  for (int32_t i = 0; i < n * length && status == STATUS_OK; i++)
    tokens[i] = (int32_t)random_below(&stream, (uint32_t)settings->bench.vocab);
  for (int32_t s = 0; s < n && status == STATUS_OK; s++)
    sources[s] = (packed_source_t){tokens + (int64_t)s * length, length, -1};
  if (status == STATUS_OK) status = packed_create(sources, n, 1, &bench->packed);
  memory_free(tokens);
  memory_free(sources);
  return status;
}

static status_t bench_make_targets(bench_cases_bench_t *bench) {
  const packed_t *packed = &bench->packed;
  int32_t rows = packed->offsets[packed->sequences];
  TRY(memory_alloc(&bench->rows, ARENA_OTHER, 2 * (size_t)rows, sizeof *bench->rows));
  bench->targets = bench->rows + rows;
  for (int32_t r = 0; r + 1 < rows; r++) {
    if (packed->positions[r + 1] == 0) continue;
    bench->rows[bench->predictions] = r;
    bench->targets[bench->predictions++] = packed->tokens[r + 1];
  }
  return STATUS_OK;
}

/* Cache for the prompts and what is decoded behind each. */
static status_t bench_make_cache(bench_cases_bench_t *bench) {
  const settings_t *settings = bench->session->settings;
  int32_t page = (int32_t)settings->rollout.page, n = bench->packed.sequences;
  int32_t rows = bench->packed.offsets[n];
  bench->max_pages = (int32_t)(settings->bench.length + settings->bench.decode_tokens + page - 1) / page;
  const pass_cache_t cache = {.pages = n * bench->max_pages, .page_size = page, .rows = rows, .sequences = n};
  TRY(pass_create_cache(bench->pass, &bench->role, &cache, &bench->cache));
  TRY(memory_alloc(&bench->pages, ARENA_OTHER, (size_t)n * (size_t)bench->max_pages, sizeof *bench->pages));
  TRY(memory_alloc(&bench->which, ARENA_OTHER, (size_t)n, sizeof *bench->which));
  TRY(memory_alloc(&bench->slots, ARENA_OTHER, (size_t)rows, sizeof *bench->slots));
  for (int32_t p = 0; p < n * bench->max_pages; p++)
    bench->pages[p] = p;
  for (int32_t s = 0; s < n; s++)
    bench->which[s] = s;
  for (int32_t s = 0; s < n; s++)
    for (int32_t t = bench->packed.offsets[s]; t < bench->packed.offsets[s + 1]; t++) {
      int32_t position = bench->packed.positions[t];
      bench->slots[t] = bench->pages[s * bench->max_pages + position / page] * page + position % page;
    }
  const sampler_options_t options = {.temperature = 1.0, .top_p = 1.0, .seed = 1};
  TRY(sampler_create(bench->pass, bench->session->device, &bench->session->grid, &bench->base, &options, n,
                     &bench->sampler));
  const decoding_options_t decoding = {.slots = n,
                                       .max_pages = bench->max_pages,
                                       .max_tokens = (int32_t)settings->bench.decode_tokens,
                                       .ends = {-1, -1, -1, -1}};
  return decoding_create(bench->pass, &bench->cache, bench->sampler, &decoding, &bench->decoding);
}

static status_t bench_make_optimizer(bench_cases_bench_t *bench, params_t *params) {
  const optimizer_set_t sets[] = {{params, 0}};
  const optimizer_options_t options = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_clip = 1.0};
  return optimizer_create(bench->session->device, &bench->session->grid, sets, 1, &options,
                          &bench->optimizer);
}

static status_t bench_make_model(bench_cases_bench_t *bench) {
  session_t *session = bench->session;
  model_config_t config = config_of(session->settings);
  const pass_options_t options = {.recompute = settings_recompute(session->settings)};
  TRY(base_create(session->device, &session->grid, &config, NULL, &bench->base));
  double begin = perf_now();
  if (!session->dry) TRY(params_initialise(&bench->base.params, (uint64_t)session->settings->job.seed));
  bench->result->initialise_seconds = perf_now() - begin;
  bench->result->weights = (double)config_decoder_weights(&config);
  TRY(pass_create(session->device, &session->grid, &options, &bench->pass));
  bench->role = (role_t){.base = &bench->base};
  if (session->dry) return STATUS_OK;
  log_info("bench      %.1f M weights made in %.1f s; every dp group has %lld sequences of %lld tokens",
           1e-6 * bench->result->weights, bench->result->initialise_seconds,
           (long long)session->settings->bench.sequences, (long long)session->settings->bench.length);
  return STATUS_OK;
}

static void bench_free(bench_cases_bench_t *bench) {
  optimizer_free(bench->optimizer);
  decoding_free(&bench->decoding);
  sampler_free(bench->sampler);
  cache_free(&bench->cache);
  pass_free(bench->pass);
  adapter_free(&bench->adapter);
  base_free(&bench->base);
  packed_free(&bench->packed);
  memory_free(bench->rows);
  memory_free(bench->pages);
  memory_free(bench->which);
  memory_free(bench->slots);
}

/* ---- What is measured ---- */

/* The loss does not matter: the gradient of the mean log-probability. */
static status_t bench_backward(bench_cases_bench_t *bench) {
  double *slopes;
  size_t n = (size_t)bench->predictions;
  TRY(memory_alloc(&slopes, ARENA_OTHER, n, sizeof *slopes));
  for (size_t i = 0; i < n; i++)
    slopes[i] = -1.0 / (double)n;
  const pass_token_loss_t loss = {.slopes = slopes};
  status_code_t status = pass_logprobs_backward(bench->pass, bench->predictions, bench->rows, bench->targets,
                                                1.0, &loss, &(pass_token_numbers_t){0});
  memory_free(slopes);
  TRY(status);
  return pass_backward(bench->pass, optimizer_only_layer_done, bench->optimizer);
}

static status_t training_step(bench_cases_bench_t *bench) {
  const pass_images_t images = {0};
  double norms[2];
  perf_begin(REGION_FORWARD);
  status_code_t status = pass_forward(bench->pass, &bench->role, &bench->packed, &images, true, NULL, NULL);
  perf_end(REGION_FORWARD);
  TRY(status);
  perf_begin(REGION_BACKWARD);
  status = bench_backward(bench);
  perf_end(REGION_BACKWARD);
  TRY(status);
  perf_begin(REGION_OPTIMISER);
  status = optimizer_step(bench->optimizer, learning_rate, norms);
  perf_end(REGION_OPTIMISER);
  return status;
}

static status_t bench_prefill(bench_cases_bench_t *bench) {
  const pass_images_t images = {0};
  perf_begin(REGION_PREFILL);
  status_code_t status =
      pass_forward(bench->pass, &bench->role, &bench->packed, &images, false, &bench->cache, bench->slots);
  perf_end(REGION_PREFILL);
  return status;
}

/* Tokens behind the prompts of the first bench->decoded sequences, one after the other. */
static status_t decode_all(bench_cases_bench_t *bench) {
  const settings_t *settings = bench->session->settings;
  decoding_t *decoding = &bench->decoding;
  int32_t n = bench->decoded, length = (int32_t)settings->bench.length;
  TRY(decoding_set_pages(decoding, bench->pages));
  TRY(decoding_set_rows(decoding, n, bench->which));
  for (int32_t s = 0; s < n; s++)
    TRY(decoding_place(decoding, s, 0, length, 0, s));
  for (int32_t t = 0; t < settings->bench.decode_tokens; t++) {
    if (bench->session->grid.tp_rank == 0) perf_tokens(n);
    TRY(decoding_step(decoding, &bench->role, (int64_t)n * (length + t + 1)));
  }
  return decoding_read_ended(decoding);
}

static status_t bench_decode(bench_cases_bench_t *bench) {
  perf_begin(REGION_DECODE);
  status_code_t status = decode_all(bench);
  perf_end(REGION_DECODE);
  return status;
}

/* ---- Measuring ---- */

typedef status_t (*work_t)(bench_cases_bench_t *bench);

/* FLOPs and bytes that all regions have counted. */
static perf_counter_t counted_so_far(void) {
  perf_counter_t counters[REGION_COUNT], all = {0};
  perf_snapshot(counters);
  for (int r = 0; r < REGION_COUNT; r++) {
    all.flops += counters[r].flops;
    all.bytes += counters[r].bytes;
  }
  return all;
}

/* Seconds that WORK takes on the slowest rank. */
static status_t time_once(bench_cases_bench_t *bench, work_t work, double *seconds) {
  session_t *session = bench->session;
  TRY(device_synchronize(session->device));
  TRY(comm_barrier(session->world));
  double begin = perf_now();
  TRY(work(bench));
  TRY(device_synchronize(session->device));
  *seconds = perf_now() - begin;
  return comm_allreduce(session->world, seconds, 1, COMM_F64, COMM_MAX);
}

/* Machines change their speed; a share of peak is only honest beside the best peak. */
static status_t bench_update_peaks(bench_cases_bench_t *bench) {
  device_peaks_t peaks;
  bench_result_t *result = bench->result;
  int64_t elements = (int64_t)result->weights;
  if (elements < STREAM_LEAST) elements = STREAM_LEAST;
  if (elements > STREAM_MOST) elements = STREAM_MOST;
  TRY(device_measure_peaks(bench->session->device, elements, &peaks));
  double flops = peaks.flops[WEIGHT_REAL];
  if (flops > result->sgemm_flops) result->sgemm_flops = flops;
  if (peaks.bytes > result->stream_bytes) result->stream_bytes = peaks.bytes;
  return STATUS_OK;
}

static status_t by_operation(bench_cases_bench_t *bench, work_t work, bench_case_t *c) {
  op_timer_t *timer;
  TRY(memory_alloc(&timer, ARENA_OTHER, 1, sizeof *timer));
  op_timer_start(bench->session->device, timer);
  status_code_t status = time_once(bench, work, &c->operation_seconds);
  op_timer_stop(bench->session->device);
  memcpy(c->operations, timer->times, sizeof c->operations);
  memory_free(timer);
  return status;
}

static status_t bench_measure_inner(bench_cases_bench_t *bench, const char *name, double tokens,
                                    work_t work) {
  bench_case_t *c = &bench->result->cases[bench->result->count++];
  int64_t repetitions = bench->session->settings->bench.repetitions;
  snprintf(c->name, sizeof c->name, "%s", name);
  c->tokens = tokens * bench->session->grid.dp_size;
  if (!bench->session->dry) log_info("           %s", name);
  for (int64_t r = 0; r < repetitions; r++) {
    double seconds;
    bool stop;
    TRY(session_stop(bench->session, 0.0, &stop));
    if (stop) return STATUS_STOPPED;
    perf_counter_t before = counted_so_far();
    TRY(time_once(bench, work, &seconds));
    if (r == 0 || seconds < c->seconds) c->seconds = seconds;
    perf_counter_t after = counted_so_far();
    c->flops = after.flops - before.flops;
    c->bytes = after.bytes - before.bytes;
  }
  TRY(by_operation(bench, work, c));
  return bench_update_peaks(bench);
}

static status_t bench_measure_training(bench_cases_bench_t *bench) {
  double tokens = bench->packed.offsets[bench->packed.sequences];
  TRY(base_set_trainable(&bench->base, TRAIN_DECODER));
  TRY(bench_make_optimizer(bench, &bench->base.params));
  TRY(bench_measure_inner(bench, "train, all weights", tokens, training_step));
  optimizer_free(bench->optimizer);
  bench->optimizer = NULL;
  return base_set_trainable(&bench->base, TRAIN_NOTHING);
}

static status_t bench_measure_adapters(bench_cases_bench_t *bench) {
  adapter_config_t config = {.r = LORA_R, .alpha = LORA_ALPHA};
  double tokens = bench->packed.offsets[bench->packed.sequences];
  for (int p = 0; p < PROJ_COUNT; p++)
    config.targets[p] = true;
  TRY(adapter_create(&bench->base, &config, "bench", &bench->adapter));
  TRY(params_train_all(&bench->adapter.params));
  TRY(params_initialise(&bench->adapter.params, 1));
  TRY(bench_make_optimizer(bench, &bench->adapter.params));
  bench->role.adapter = &bench->adapter;
  TRY(bench_measure_inner(bench, "train, adapters of 64", tokens, training_step));
  optimizer_free(bench->optimizer);
  bench->optimizer = NULL;
  bench->role.adapter = NULL;
  return STATUS_OK;
}

static status_t bench_measure_decoding(bench_cases_bench_t *bench, int32_t sequences) {
  const settings_t *settings = bench->session->settings;
  double steps = (double)settings->bench.decode_tokens;
  char name[BENCH_NAME_MAX];
  bench->decoded = sequences;
  snprintf(name, sizeof name, "decode, %d sequence%s", sequences, sequences == 1 ? "" : "s");
  return bench_measure_inner(bench, name, steps * sequences, bench_decode);
}

static status_t bench_run_inner(bench_cases_bench_t *bench) {
  TRY(bench_make_batch(bench));
  TRY(bench_make_targets(bench));
  TRY(bench_make_model(bench));
  TRY(bench_update_peaks(bench));
  TRY(bench_measure_training(bench));
  TRY(bench_measure_adapters(bench));
  TRY(bench_make_cache(bench));
  TRY(bench_measure_inner(bench, "prefill", bench->packed.offsets[bench->packed.sequences], bench_prefill));
  TRY(bench_measure_decoding(bench, 1));
  return bench->packed.sequences > 1 ? bench_measure_decoding(bench, bench->packed.sequences) : STATUS_OK;
}

status_t bench_measure(session_t *session, bench_result_t *result) {
  bench_cases_bench_t bench = {.session = session, .result = result};
  TRY(bench_check_settings(session->settings));
  *result = (bench_result_t){.sgemm_flops = session->sgemm_flops, .stream_bytes = 0.0};
  status_code_t status = bench_run_inner(&bench);
  bench_free(&bench);
  TRY(status);
  /* The performance table at the end shows the same peaks. */
  session->sgemm_flops = result->sgemm_flops;
  session->stream_bytes = result->stream_bytes;
  return STATUS_OK;
}
