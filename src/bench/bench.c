#include "bench/bench.h"

#include "base/log.h"
#include "base/memory.h"
#include "bench/bench_cases.h"
#include "io/json.h"
#include "session/estimate.h"

#include <stdio.h>

static double bench_share(double value, double peak) {
  return peak > 0.0 ? value / peak : 0.0;
}

/* ---- Tables ---- */

static void bench_log_case(const bench_result_t *result, const bench_case_t *c) {
  double flops = c->flops / c->seconds, bytes = c->bytes / c->seconds;
  char memory[48] = "       -        -";
  if (c->bytes > 0.0)
    snprintf(memory, sizeof memory, "%8.1f %7.1f%%", 1e-9 * bytes,
             100.0 * bench_share(bytes, result->peaks.bytes));
  char energy[16] = "";
  if (c->joules > 0.0) snprintf(energy, sizeof energy, "%9.1f", c->joules);
  log_info("%-24s %10.1f %10.1f %9.1f %7.1f%% %s %s", c->name, 1e3 * c->seconds, c->tokens / c->seconds,
           1e-9 * flops, 100.0 * bench_share(flops, result->peaks.flops[WEIGHT_REAL]), memory, energy);
}

/* The least time that the peaks allow. */
static double floor_seconds(const device_peaks_t *peaks, const op_time_t *time) {
  double computing = bench_share(time->flops, peaks->flops[WEIGHT_REAL]);
  double moving = bench_share(time->bytes, peaks->bytes);
  return computing > moving ? computing : moving;
}

/* "  RATE  SHARE" of AMOUNT in SECONDS, blank where there is none. */
static void rate_text(double amount, double seconds, double peak, char text[48]) {
  snprintf(text, 48, "%9s %8s", "", "");
  if (amount > 0.0 && seconds > 0.0)
    snprintf(text, 48, "%9.1f %7.1f%%", 1e-9 * amount / seconds, 100.0 * bench_share(amount / seconds, peak));
}

static void bench_log_operation(const bench_result_t *result, const bench_case_t *c, timed_t timed) {
  const op_time_t *time = &c->operations[timed];
  char computing[48], moving[48];
  if (time->calls == 0) return;
  rate_text(time->flops, time->seconds, result->peaks.flops[WEIGHT_REAL], computing);
  rate_text(time->bytes, time->seconds, result->peaks.bytes, moving);
  log_info("  %-22s %10.1f %7.1f%% %7lld %s %s %7.1f%%", timed_name(timed), 1e3 * time->seconds,
           100.0 * time->seconds / c->operation_seconds, (long long)time->calls, computing, moving,
           100.0 * bench_share(floor_seconds(&result->peaks, time), time->seconds));
}

/* One repetition, operation by operation; what is left is the host's own work. */
static void bench_log_operations(const bench_result_t *result, const bench_case_t *c) {
  double rest = c->operation_seconds;
  log_info("\n%-24s %10s %8s %7s %9s %8s %9s %8s %8s", c->name, "ms", "share", "calls", "GFLOP/s", "of peak",
           "GB/s", "of peak", "floor");
  for (int t = 0; t < TIMED_COUNT; t++) {
    bench_log_operation(result, c, (timed_t)t);
    rest -= c->operations[t].seconds;
  }
  log_info("  %-22s %10.1f %7.1f%%", "between operations", 1e3 * rest, 100.0 * rest / c->operation_seconds);
}

static void bench_log_tables(const session_t *session, const bench_result_t *result) {
  const device_peaks_t *peaks = &result->peaks;
  log_info("peaks      products %.1f GFLOP/s, streaming %.1f GB/s (per rank, the best measured in this run)",
           1e-9 * peaks->flops[WEIGHT_REAL], 1e-9 * peaks->bytes);
  log_info("           products with weights in bf16 %.1f, in NF4 %.1f GFLOP/s",
           1e-9 * peaks->flops[WEIGHT_BF16], 1e-9 * peaks->flops[WEIGHT_NF4]);
  log_info("\n%-24s %10s %10s %9s %8s %8s %8s %9s", "", "ms", "tokens/s", "GFLOP/s", "of peak", "GB/s",
           "of peak", result->cases[0].joules > 0.0 ? "J" : "");
  for (int32_t i = 0; i < result->count; i++)
    bench_log_case(result, &result->cases[i]);
  log_info("(the fastest of %lld; FLOP/s and GB/s per rank; tokens/s of all ranks)",
           (long long)session->settings->bench.repetitions);
  for (int32_t i = 0; i < result->count; i++)
    bench_log_operations(result, &result->cases[i]);
  log_info("(floor: the time that FLOPs or bytes take at the peaks, whichever is more, of the time taken; "
           "above 100 %% where operands stay in caches)");
}

/* ---- bench.json ---- */

static void bench_write_operations(json_writer_t *writer, const bench_result_t *result,
                                   const bench_case_t *c) {
  json_write_key(writer, "operations");
  json_write_array_begin(writer);
  for (int t = 0; t < TIMED_COUNT; t++) {
    if (c->operations[t].calls == 0) continue;
    json_write_line(writer);
    json_write_object_begin(writer);
    json_write_member(writer, "name", timed_name((timed_t)t));
    json_write_int_member(writer, "calls", c->operations[t].calls);
    json_write_real_member(writer, "seconds", c->operations[t].seconds);
    json_write_real_member(writer, "flops", c->operations[t].flops);
    json_write_real_member(writer, "bytes", c->operations[t].bytes);
    json_write_real_member(writer, "floor_seconds", floor_seconds(&result->peaks, &c->operations[t]));
    json_write_object_end(writer);
  }
  json_write_array_end(writer);
  json_write_real_member(writer, "operation_seconds", c->operation_seconds);
}

static void bench_write_case(json_writer_t *writer, const bench_result_t *result, const bench_case_t *c) {
  json_write_line(writer);
  json_write_object_begin(writer);
  json_write_member(writer, "name", c->name);
  json_write_real_member(writer, "seconds", c->seconds);
  json_write_real_member(writer, "tokens", c->tokens);
  json_write_real_member(writer, "tokens_per_second", c->tokens / c->seconds);
  json_write_real_member(writer, "flops", c->flops);
  json_write_real_member(writer, "flops_per_second", c->flops / c->seconds);
  json_write_real_member(writer, "flops_of_peak",
                         bench_share(c->flops / c->seconds, result->peaks.flops[WEIGHT_REAL]));
  json_write_real_member(writer, "bytes", c->bytes);
  json_write_real_member(writer, "bytes_per_second", c->bytes / c->seconds);
  json_write_real_member(writer, "bytes_of_peak", bench_share(c->bytes / c->seconds, result->peaks.bytes));
  if (c->joules > 0.0) json_write_real_member(writer, "joules", c->joules);
  bench_write_operations(writer, result, c);
  json_write_object_end(writer);
}

static void bench_write_sizes(json_writer_t *writer, const session_t *session) {
  const settings_t *settings = session->settings;
  json_write_int_member(writer, "hidden", settings->bench.hidden);
  json_write_int_member(writer, "layers", settings->bench.layers);
  json_write_int_member(writer, "heads", settings->bench.heads);
  json_write_int_member(writer, "mlp", settings->bench.mlp);
  json_write_int_member(writer, "vocab", settings->bench.vocab);
  json_write_int_member(writer, "sequences", settings->bench.sequences);
  json_write_int_member(writer, "length", settings->bench.length);
  json_write_int_member(writer, "decode_sequences", settings->bench.decode_sequences);
  json_write_int_member(writer, "decode_length", settings->bench.decode_length);
  json_write_int_member(writer, "decode_tokens", settings->bench.decode_tokens);
  json_write_int_member(writer, "repetitions", settings->bench.repetitions);
  json_write_int_member(writer, "dp", session->grid.dp_size);
  json_write_int_member(writer, "tp", session->grid.tp_size);
  json_write_int_member(writer, "threads", session->grid.threads);
  json_write_member(writer, "device", session->device->name);
  json_write_member(writer, "device_detail", session->device->detail);
}

static void bench_write_result(json_writer_t *writer, const session_t *session,
                               const bench_result_t *result) {
  json_write_object_begin(writer);
  json_write_member(writer, "format", "llava_rlhf bench");
  json_write_int_member(writer, "format_version", 1);
  bench_write_sizes(writer, session);
  json_write_real_member(writer, "weights", result->weights);
  json_write_member(writer, "weights_format", result->format);
  json_write_member(writer, "recompute", session->settings->model.recompute);
  json_write_int_member(writer, "lora_r", session->settings->adapter.r);
  json_write_real_member(writer, "initialise_seconds", result->initialise_seconds);
  json_write_real_member(writer, "product_flops", result->peaks.flops[WEIGHT_REAL]);
  json_write_real_member(writer, "bf16_flops", result->peaks.flops[WEIGHT_BF16]);
  json_write_real_member(writer, "nf4_flops", result->peaks.flops[WEIGHT_NF4]);
  json_write_real_member(writer, "stream_bytes", result->peaks.bytes);
  json_write_key(writer, "cases");
  json_write_array_begin(writer);
  for (int32_t i = 0; i < result->count; i++)
    bench_write_case(writer, result, &result->cases[i]);
  json_write_array_end(writer);
  json_write_object_end(writer);
  json_write_line(writer);
}

static status_t bench_write_file(const session_t *session, const bench_result_t *result) {
  json_writer_t *writer;
  char path[FILE_MAX_PATH], *text;
  size_t n;
  TRY(session_path(session, "bench.json", path));
  TRY(json_writer_create(NULL, &writer));
  bench_write_result(writer, session, result);
  TRY(json_writer_finish(writer, &text, &n));
  status_code_t status = file_replace(path, text, n);
  memory_free(text);
  return status;
}

status_t bench_report(const session_t *session, const bench_result_t *result) {
  if (session->grid.rank != 0) return STATUS_OK;
  bench_log_tables(session, result);
  return bench_write_file(session, result);
}

status_t bench_run(session_t *session) {
  bench_result_t result = {0};
  enum { ABOUT_BYTES = 6000 };
  TRY(bench_measure(session, &result));
  if (session->dry) {
    estimate_output(session->dry, "bench.json", ABOUT_BYTES);
    return STATUS_OK;
  }
  return comm_agree(session->world, bench_report(session, &result));
}
