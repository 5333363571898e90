#include "bench/bench_setup.h"

#include "base/log.h"
#include "base/memory.h"
#include "perf/perf.h"
#include "session/models.h"

#include <stdio.h>
#include <string.h>

/* The arrays that tell the bandwidth are as large as the weights, up to so many numbers. */
enum { STREAM_MOST = 1 << 26 };
static const double learning_rate = 1e-5;

/* ---- What is measured ---- */

/* The loss does not matter: the gradient of the mean log-probability. */
static status_t bench_backward(bench_t *bench) {
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

static status_t training_step(bench_t *bench) {
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

static status_t bench_prefill(bench_t *bench) {
  const pass_images_t images = {0};
  perf_begin(REGION_PREFILL);
  status_code_t status =
      pass_forward(bench->pass, &bench->role, &bench->packed, &images, false, &bench->cache, bench->slots);
  perf_end(REGION_PREFILL);
  return status;
}

/* Tokens behind the prompts of the first bench->decoded sequences, one after the other. */
static status_t decode_all(bench_t *bench) {
  const settings_t *settings = bench->session->settings;
  decoding_t *decoding = &bench->decoding;
  int32_t n = bench->decoded, length = bench->packed.offsets[1];
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

static status_t bench_decode(bench_t *bench) {
  perf_begin(REGION_DECODE);
  status_code_t status = decode_all(bench);
  perf_end(REGION_DECODE);
  return status;
}

/* ---- Measuring ---- */

typedef status_t (*work_t)(bench_t *bench);

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
static status_t time_once(bench_t *bench, work_t work, double *seconds) {
  session_t *session = bench->session;
  TRY(device_synchronize(session->device));
  TRY(comm_barrier(session->world));
  double begin = perf_now();
  TRY(work(bench));
  TRY(device_synchronize(session->device));
  *seconds = perf_now() - begin;
  return comm_allreduce(session->world, seconds, 1, COMM_F64, COMM_MAX);
}

static void keep_larger(double *best, double value) {
  if (value > *best) *best = value;
}

/* Machines change their speed; a share of peak is only honest beside the best peak. */
static status_t bench_update_peaks(bench_t *bench) {
  device_peaks_t peaks, *best = &bench->result->peaks;
  double elements = bench->result->weights < STREAM_MOST ? bench->result->weights : STREAM_MOST;
  TRY(device_measure_peaks(bench->session->device, (int64_t)elements, &peaks));
  TRY(device_measure_formats(bench->session->device, &peaks));
  for (int f = 0; f < WEIGHT_FORMATS; f++)
    keep_larger(&best->flops[f], peaks.flops[f]);
  keep_larger(&best->bytes, peaks.bytes);
  return STATUS_OK;
}

static status_t by_operation_with(bench_t *bench, work_t work, op_timer_t *timer, bench_case_t *c) {
  const base_t *base = &bench->base;
  const op_timer_sizes_t sizes = {base->config.hidden, base->mlp, base->vocab_rows};
  status_code_t status = op_timer_start(bench->session->device, &sizes, timer);
  TRY(comm_agree(bench->session->world, status));
  TRY(time_once(bench, work, &c->operation_seconds));
  return op_timer_stop(timer);
}

static status_t by_operation(bench_t *bench, work_t work, bench_case_t *c) {
  op_timer_t *timer;
  TRY(memory_alloc(&timer, ARENA_OTHER, 1, sizeof *timer));
  status_code_t status = by_operation_with(bench, work, timer, c);
  memcpy(c->operations, timer->times, sizeof c->operations);
  op_timer_free(timer);
  memory_free(timer);
  return status;
}

static status_t bench_measure_inner(bench_t *bench, const char *name, double tokens, work_t work) {
  bench_case_t *c = &bench->result->cases[bench->result->count++];
  int64_t repetitions = bench->session->settings->bench.repetitions;
  snprintf(c->name, sizeof c->name, "%s", name);
  c->tokens = tokens * bench->session->grid.dp_size;
  if (!bench->session->dry) log_info("           %s", name);
  const double joules = device_energy(bench->session->device);
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
  c->joules = device_energy_since(bench->session->device, joules) / (double)repetitions;
  TRY(comm_allreduce(bench->session->world, &c->joules, 1, COMM_F64, COMM_SUM));
  TRY(by_operation(bench, work, c));
  return bench_update_peaks(bench);
}

static bool bench_wants(const bench_t *bench, const char *name) {
  const text_list_t *cases = &bench->session->settings->bench.cases;
  for (int64_t i = 0; i < cases->count; i++)
    if (strcmp(cases->items[i], name) == 0) return true;
  return false;
}

static double batch_tokens(const bench_t *bench) {
  return bench->packed.offsets[bench->packed.sequences];
}

static status_t bench_measure_training(bench_t *bench) {
  TRY(bench_set_base(bench, true));
  TRY(base_set_trainable(&bench->base, TRAIN_DECODER));
  TRY(bench_set_optimizer(bench, &bench->base.params));
  TRY(bench_measure_inner(bench, "train, all weights", batch_tokens(bench), training_step));
  TRY(bench_set_optimizer(bench, NULL));
  return base_set_trainable(&bench->base, TRAIN_NOTHING);
}

static status_t bench_measure_adapters(bench_t *bench) {
  const adapter_config_t config = settings_adapter(bench->session->settings);
  char name[BENCH_NAME_MAX];
  TRY(bench_set_base(bench, false));
  TRY(adapter_create(&bench->base, &config, "bench", &bench->adapter));
  TRY(params_train_all(&bench->adapter.params));
  TRY(params_initialise(&bench->adapter.params, 1));
  TRY(bench_set_optimizer(bench, &bench->adapter.params));
  bench->role.adapter = &bench->adapter;
  snprintf(name, sizeof name, "train, adapters of %d", config.r);
  TRY(bench_measure_inner(bench, name, batch_tokens(bench), training_step));
  TRY(bench_set_optimizer(bench, NULL));
  bench->role.adapter = NULL;
  adapter_free(&bench->adapter);
  return STATUS_OK;
}

static status_t bench_measure_prefill(bench_t *bench) {
  TRY(bench_set_base(bench, false));
  TRY(bench_set_cache(bench));
  TRY(bench_measure_inner(bench, "prefill", batch_tokens(bench), bench_prefill));
  bench_free_cache(bench);
  return STATUS_OK;
}

static status_t bench_measure_decoded(bench_t *bench, int32_t sequences) {
  double steps = (double)bench->session->settings->bench.decode_tokens;
  char name[BENCH_NAME_MAX];
  bench->decoded = sequences;
  snprintf(name, sizeof name, "decode, %d sequence%s", sequences, sequences == 1 ? "" : "s");
  return bench_measure_inner(bench, name, steps * sequences, bench_decode);
}

static status_t bench_measure_decoding(bench_t *bench) {
  const settings_t *settings = bench->session->settings;
  int64_t n = settings->bench.decode_sequences, length = settings->bench.decode_length;
  bool one = bench_wants(bench, "decode_1"), all = bench_wants(bench, "decode_all");
  if (!one && !all) return STATUS_OK;
  TRY(bench_set_base(bench, false));
  TRY(bench_set_batch(bench, n > 0 ? n : settings->bench.sequences,
                      length > 0 ? length : settings->bench.length));
  TRY(bench_set_cache(bench));
  TRY(bench_prefill(bench));
  if (one) TRY(bench_measure_decoded(bench, 1));
  if (all && !(one && bench->packed.sequences == 1))
    TRY(bench_measure_decoded(bench, bench->packed.sequences));
  bench_free_cache(bench);
  return STATUS_OK;
}

static status_t bench_run_inner(bench_t *bench) {
  const settings_t *settings = bench->session->settings;
  TRY(bench_set_batch(bench, settings->bench.sequences, settings->bench.length));
  TRY(bench_update_peaks(bench));
  if (bench_wants(bench, "train_all")) TRY(bench_measure_training(bench));
  if (bench_wants(bench, "train_adapters")) TRY(bench_measure_adapters(bench));
  if (bench_wants(bench, "prefill")) TRY(bench_measure_prefill(bench));
  TRY(bench_measure_decoding(bench));
  snprintf(bench->result->format, sizeof bench->result->format, "%s", bench_format_name(bench));
  return STATUS_OK;
}

status_t bench_measure(session_t *session, bench_result_t *result) {
  bench_t bench;
  *result = (bench_result_t){.peaks.flops[WEIGHT_REAL] = session->product_flops};
  status_code_t status = bench_set_up(session, result, &bench);
  if (status == STATUS_OK) status = bench_run_inner(&bench);
  bench_take_down(&bench);
  TRY(status);
  /* The performance table at the end shows the same peaks. */
  session->product_flops = result->peaks.flops[WEIGHT_REAL];
  session->stream_bytes = result->peaks.bytes;
  return STATUS_OK;
}
