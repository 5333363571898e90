#define _GNU_SOURCE
#include "session/dry_run.h"

#include "base/log.h"
#include "model/pass.h"
#include "session/link.h"
#include "tensor/blank.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Samples of each dp group that tasks without steps go through. */
enum { SAMPLES_PER_GROUP = 64, LINES_MAX = 16, COLUMN = 13 };

static const double mega = 1e-6, giga = 1e-9, tera = 1e-12, micro = 1e-6;

/* Within a node, where nothing was measured. */
static const link_t usual_link = {2e-6, 2e9};

/* ---- Going through ---- */

/* A folder for what the task writes, gone afterwards. The same PATH on all ranks. */
static status_t dry_run_make_folder(comm_t *world, char path[FILE_MAX_PATH]) {
  status_code_t status = STATUS_OK;
  memset(path, 0, FILE_MAX_PATH);
  if (comm_rank(world) == 0) {
    const char *parent = getenv("TMPDIR");
    status = file_join(path, parent && *parent ? parent : "/tmp", "llava_rlhf_dry_XXXXXX", NULL);
    if (status == STATUS_OK && !mkdtemp(path))
      status = error_set(STATUS_DATA, "%s cannot be made: %s (TMPDIR says where)", path, strerror(errno));
  }
  TRY(comm_agree(world, status));
  return comm_broadcast(world, path, FILE_MAX_PATH, COMM_BYTE, 0);
}

static int dry_run_remove_one(const char *path, const struct stat *what, int type, struct FTW *place) {
  (void)what;
  (void)type;
  (void)place;
  return remove(path);
}

/* The run's settings, but for where results go, who answers what and how many samples tasks without steps
 * have; ESTIMATE keeps how many there are. */
static settings_t dry_run_shortened(const session_t *session, estimate_t *estimate) {
  static char nothing[] = "";
  settings_t settings = *session->settings;
  int64_t most = (int64_t)SAMPLES_PER_GROUP * session->grid.dp_size;
  estimate->data_limit = settings.data.limit;
  estimate->eval_limit = settings.eval.limit;
  bool steps = task_trains(settings_task(&settings));
  if (!steps && (settings.data.limit == 0 || settings.data.limit > most)) settings.data.limit = most;
  if (!steps && (settings.eval.limit == 0 || settings.eval.limit > most)) settings.eval.limit = most;
  settings.job.deterministic = true; /* a group that is a little faster would take all prompts */
  settings.generate.output = settings.annotate.output = settings.world.dir = nothing;
  return settings;
}

static void dry_run_read_peaks(size_t *peaks) {
  for (int a = 0; a < ARENA_COUNT; a++)
    peaks[a] = memory_usage((arena_t)a).peak;
}

/* What a GPU would take, and the host beside it; DRY is the blank device. */
static void dry_run_conclude_gpu(const device_t *dry, estimate_t *estimate) {
  blank_memory(dry, &estimate->gpu);
  estimate->host = memory_usage_at(MEMORY_HOST, ARENA_COUNT).peak;
}

/* The machine that the settings describe, as one rank sees it; what they leave open is this one, where LINK
 * was measured. */
static machine_t dry_run_machine(const session_t *session, const link_t *link) {
  const settings_t *settings = session->settings;
  bool here = settings->parallel.gpu_memory == 0.0; /* else what was measured is another machine's */
  double peak = settings->machine.peak / tera, memory = settings->machine.memory / giga;
  if (peak == 0.0 && here) peak = session->product_flops;
  if (memory == 0.0 && here) memory = session->stream_bytes;
  double latency = micro * settings->machine.latency, bandwidth = settings->machine.bandwidth / giga;
  if (latency == 0.0) latency = link->latency > 0.0 ? link->latency : usual_link.latency;
  if (bandwidth == 0.0) bandwidth = link->bandwidth > 0.0 ? link->bandwidth : usual_link.bandwidth;
  int64_t node = settings->machine.node;
  return (machine_t){.flops = settings->machine.reached * peak,
                     .bytes = settings->machine.memory_reached * memory,
                     .node_ranks = node > 0 ? (int)node : session->grid.node_size,
                     .latency = {latency, micro * settings->machine.network_latency},
                     .bandwidth = {bandwidth, settings->machine.network_bandwidth / giga},
                     .sample_seconds = micro * settings->machine.sample_time};
}

/* What COUNTERS and the collectives so far have of one of UNITS. */
static void dry_run_work(const session_t *session, const perf_counter_t *counters, double units,
                         cost_work_t *work) {
  const settings_t *settings = session->settings;
  *work = (cost_work_t){.dp = session->grid.dp_size, .tp = session->grid.tp_size};
  perf_collectives(&work->collectives[0][0]);
  for (int r = 0; r < REGION_COUNT; r++) {
    work->regions[r].flops = counters[r].flops / units;
    work->regions[r].bytes = counters[r].bytes / units;
  }
  for (int i = 0; i < TRAFFIC_COUNT * COLLECTIVE_COUNT; i++) {
    perf_collective_t *collective = &work->collectives[0][0] + i;
    collective->calls /= units;
    collective->bytes /= units;
  }
  if (strcmp(settings->model.recompute, "full") == 0) work->again = work->regions[REGION_FORWARD].flops;
  if (settings_task(settings) == TASK_PPO) work->samples = (double)settings->rollout.batch;
}

/* The time on this run's layout and on more of its dp groups. */
static void dry_run_predict(const session_t *session, const perf_counter_t *counters, double units,
                            estimate_t *estimate) {
  const grid_t *grid = &session->grid;
  cost_work_t work;
  const machine_t machine = dry_run_machine(session, &estimate->link);
  if (machine.flops <= 0.0 || machine.bytes <= 0.0) return;
  dry_run_work(session, counters, units, &work);
  estimate->link = (link_t){machine.latency[INSIDE_NODE], machine.bandwidth[INSIDE_NODE]};
  for (int64_t dp = grid->dp_size; estimate->cost_count < ESTIMATE_LAYOUTS_MAX; dp *= 2) {
    if (estimate->cost_count > 0 &&
        (dp * grid->tp_size > session->settings->machine.ranks || grid->dp_size == 1))
      return;
    estimate->costs[estimate->cost_count++] = cost_predict(&work, &machine, (int)dp);
  }
}

static void dry_run_conclude(const session_t *session, const size_t *before, estimate_t *estimate) {
  perf_counter_t counters[REGION_COUNT];
  size_t during[ARENA_COUNT];
  dry_run_read_peaks(during);
  if (estimate->together < memory_peak()) estimate->together = memory_peak();
  perf_snapshot(counters);
  estimate_memory(before, during, estimate);
  double units = estimate->steps > 0 ? (double)estimate->steps : estimate->part;
  for (int r = 0; r < REGION_COUNT; r++) {
    estimate->flops += counters[r].flops / units;
    estimate->tokens += counters[r].tokens / units;
  }
  dry_run_predict(session, counters, units, estimate);
}

/* A blank device like the session's, or like the GPU that the settings assume. */
static status_t dry_run_make_device(const session_t *session, device_t **out) {
  const settings_t *settings = session->settings;
  bool narrow =
      strcmp(settings->parallel.dtype, "auto") == 0 || strcmp(settings->parallel.dtype, "bf16") == 0;
  const blank_gpu_t gpu = {.memory = (size_t)(settings->parallel.gpu_memory / giga),
                           .real_type = narrow ? DTYPE_BF16 : DTYPE_F32};
  return blank_create(session->device, gpu.memory > 0 ? &gpu : NULL, out);
}

status_t dry_run_estimate(session_t *session, status_t (*task)(session_t *session), estimate_t *estimate) {
  *estimate = (estimate_t){
      .part = 1.0, .ranks = session->grid.size, .nodes = session->grid.node_count, .together = memory_peak()};
  session_t dry = *session;
  settings_t settings = dry_run_shortened(session, estimate);
  char folder[FILE_MAX_PATH];
  size_t before[ARENA_COUNT];
  TRY(dry_run_make_folder(session->world, folder));
  if (session->settings->parallel.gpu_memory == 0.0) TRY(link_measure(&session->grid, &estimate->link));
  status_code_t status = dry_run_make_device(session, &dry.device);
  if (status == STATUS_OK) {
    dry.settings = &settings;
    dry.run_dir = dry.record.run_dir = folder;
    dry.dry = estimate;
    dry_run_read_peaks(before);
    memory_reset_peaks();
    perf_reset();
    status = task(&dry);
    if (status == STATUS_OK) dry_run_conclude(session, before, estimate);
    if (status == STATUS_OK && settings.parallel.gpu_memory > 0.0) dry_run_conclude_gpu(dry.device, estimate);
    pass_free(dry.pass);
    device_free(dry.device);
  }
  if (comm_rank(session->world) == 0 && nftw(folder, dry_run_remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0)
    log_warning("%s could not be removed: %s", folder, strerror(errno));
  return status;
}

/* ---- Printing ---- */

static size_t total_of(const estimate_t *estimate) {
  size_t total = 0;
  for (int a = 0; a < ARENA_COUNT; a++)
    total += estimate->memory[a];
  return total;
}

static void dry_run_append_megabytes(char *line, size_t size, size_t bytes) {
  size_t used = strlen(line);
  if (used < size) snprintf(line + used, size - used, " %*.1f", COLUMN, mega * (double)bytes);
}

static void dry_run_print_rank(const estimate_t *estimate, int rank) {
  char line[256];
  snprintf(line, sizeof line, "  %4d", rank);
  for (int a = 0; a < ARENA_COUNT; a++)
    dry_run_append_megabytes(line, sizeof line, estimate->memory[a]);
  dry_run_append_megabytes(line, sizeof line, total_of(estimate));
  dry_run_append_megabytes(line, sizeof line, estimate->together);
  log_info("%s", line);
}

/* ---- Printing what a GPU takes ---- */

/* Is any of the RANKS' GPU memory of arena A when there is most? */
static bool dry_run_uses(const estimate_t *all, int ranks, int a) {
  for (int r = 0; r < ranks; r++)
    if (all[r].gpu.arenas[a] > 0) return true;
  return false;
}

static void dry_run_print_gpu_rank(const estimate_t *all, int ranks, int rank) {
  char line[256];
  snprintf(line, sizeof line, "  %4d", rank);
  for (int a = 0; a < ARENA_COUNT; a++)
    if (dry_run_uses(all, ranks, a)) dry_run_append_megabytes(line, sizeof line, all[rank].gpu.arenas[a]);
  dry_run_append_megabytes(line, sizeof line, all[rank].gpu.total);
  dry_run_append_megabytes(line, sizeof line, all[rank].host);
  log_info("%s", line);
}

/* The most while each kind of work is done. */
static void dry_run_print_gpu_regions(const estimate_t *estimate, int rank) {
  log_info("           on rank %d, MB at most during", rank);
  for (int r = 0; r < REGION_COUNT; r++)
    if (estimate->gpu.regions[r] > 0)
      log_info("             %-12s %10.1f", perf_region_name((region_t)r),
               mega * (double)estimate->gpu.regions[r]);
}

static void dry_run_print_gpu(const estimate_t *all, int ranks, const settings_t *settings) {
  const double memory = settings->parallel.gpu_memory;
  const bool cudnn = strcmp(settings->parallel.attention, "cudnn") == 0;
  char head[256] = "  rank";
  int most = 0;
  for (int a = 0; a < ARENA_COUNT; a++) {
    size_t used = strlen(head);
    if (dry_run_uses(all, ranks, a))
      snprintf(head + used, sizeof head - used, " %*s", COLUMN, memory_usage((arena_t)a).name);
  }
  log_info("memory     on the GPU when there is most, and on the host, MB:");
  log_info("%s %*s %*s", head, COLUMN, "at one time", COLUMN, "host");
  for (int r = 0; r < ranks; r++) {
    if (r < LINES_MAX) dry_run_print_gpu_rank(all, ranks, r);
    if (all[r].gpu.total > all[most].gpu.total) most = r;
  }
  dry_run_print_gpu_regions(&all[most], most);
  double takes = giga * (double)all[most].gpu.total;
  log_info("           %.1f of %.1f GB: %s", takes, memory,
           takes <= memory ? "it fits"
                           : "it does not fit; more ranks (parallel.tp), NF4 or model.recompute help");
  log_info("           not counted: what CUDA takes itself (1.3 GB on an H100), buffers of NCCL or MPI%s",
           cudnn ? ", cuDNN's workspace (gradients of long batches: GB)" : "");
}

/* ---- Printing ---- */

static void dry_run_print_memory(const estimate_t *all, int ranks) {
  char head[256] = "  rank";
  int most = 0;
  for (int a = 0; a < ARENA_COUNT; a++) {
    size_t used = strlen(head);
    snprintf(head + used, sizeof head - used, " %*s", COLUMN, memory_usage((arena_t)a).name);
  }
  log_info("memory     most that each rank takes, MB:");
  log_info("%s %*s %*s", head, COLUMN, "sum", COLUMN, "at one time");
  for (int r = 0; r < ranks; r++) {
    if (r < LINES_MAX) dry_run_print_rank(&all[r], r);
    if (total_of(&all[r]) > total_of(&all[most])) most = r;
  }
  if (ranks > LINES_MAX) {
    log_info("  and %d more; the one that takes most:", ranks - LINES_MAX);
    dry_run_print_rank(&all[most], most);
  }
}

/* Checkpoints that are there at the same time: those that are kept, or all of them; the one that is being
 * written; the best. */
static double checkpoint_count(const settings_t *settings, const estimate_t *first) {
  int64_t kept = settings->checkpoint.keep, every = settings->checkpoint.every;
  int64_t written = 1 + (every > 0 ? (first->total - 1) / every : 0);
  if (settings->eval.keep_best && settings->eval.every > 0) written += first->total / settings->eval.every;
  if (written > first->total) written = first->total;
  if (kept == 0 || written <= kept) return (double)written;
  return (double)(kept + 1 + (settings->eval.keep_best ? 1 : 0));
}

static void dry_run_print_checkpoints(const settings_t *settings, const estimate_t *first) {
  int64_t kept = settings->checkpoint.keep;
  double checkpoints = checkpoint_count(settings, first), rollouts = 0.0;
  if (settings->log.rollouts > 0)
    rollouts = (double)first->rollout * (double)(first->total / settings->log.rollouts);
  char number[48] = "all are";
  if (kept > 0) snprintf(number, sizeof number, "%lld and the best are", (long long)kept);
  log_info("disk       a checkpoint takes %.1f MB (%s kept), the result %.1f MB",
           mega * (double)first->files.file, number, mega * (double)first->files.result);
  if (rollouts > 0.0)
    log_info("           rollouts take %.3f MB a file, %.1f MB in all", mega * (double)first->rollout,
             mega * rollouts);
  log_info("           at most %.1f MB in all, besides logs",
           mega * (checkpoints * (double)first->files.file + (double)first->files.result + rollouts));
}

static void dry_run_print_outputs(const estimate_t *first) {
  double all = 0.0;
  for (int32_t i = 0; i < first->output_count; i++) {
    log_info("%s%10.3f MB  %s", i == 0 ? "disk       " : "           ", mega * first->outputs[i].bytes,
             first->outputs[i].name);
    all += first->outputs[i].bytes;
  }
  if (first->output_count == 0) log_info("disk       nothing but logs");
  if (first->output_count > 1) log_info("           %10.3f MB  in all, besides logs", mega * all);
}

/* The slowest rank's cost on layout I of estimates ALL (ranks). */
static const cost_t *dry_run_slowest(const estimate_t *all, int ranks, int32_t i) {
  int slowest = 0;
  for (int r = 0; r < ranks; r++)
    if (all[r].costs[i].all > all[slowest].costs[i].all) slowest = r;
  return &all[slowest].costs[i];
}

/* What a step's seconds are made of, for one layout after the other. */
static void dry_run_print_layouts(const estimate_t *all, int ranks) {
  log_info("           seconds a step where each dp group has as much work as here:");
  log_info("    ranks %*s %*s %*s %*s %*s %*s", COLUMN, "all", COLUMN, "passes", COLUMN, "over tp", COLUMN,
           "over dp", COLUMN, "over all", COLUMN, "whole batch");
  for (int32_t i = 0; i < all[0].cost_count; i++) {
    const cost_t *cost = dry_run_slowest(all, ranks, i);
    log_info("  %7lld %*.4g %*.4g %*.4g %*.4g %*.4g %*.4g", (long long)ranks << i, COLUMN, cost->all, COLUMN,
             cost->passes, COLUMN, cost->sent[TRAFFIC_TP], COLUMN, cost->sent[TRAFFIC_DP], COLUMN,
             cost->sent[TRAFFIC_WORLD], COLUMN, cost->whole);
  }
}

static void dry_run_print_time(const estimate_t *all, int ranks) {
  double seconds = dry_run_slowest(all, ranks, 0)->all;
  if (all[0].steps == 0) {
    log_info("time       %.3g s by the model of &machine", seconds);
    return;
  }
  double whole = seconds * (double)all[0].total;
  double unit = whole < 60.0 ? 1.0 : whole < 3600.0 ? 60.0 : 3600.0;
  log_info("time       %.4g s a step by the model of &machine", seconds);
  log_info("           %.3g %s for %lld steps", whole / unit,
           unit == 1.0    ? "s"
           : unit == 60.0 ? "min"
                          : "h",
           (long long)all[0].total);
  dry_run_print_layouts(all, ranks);
  if (ranks > 1)
    log_info("           (a message between ranks of a node: %.3g us and %.3g GB/s)",
             all[0].link.latency / micro, giga * all[0].link.bandwidth);
}

static void dry_run_print_work(const estimate_t *all, int ranks) {
  double flops = 0.0, tokens = 0.0;
  for (int r = 0; r < ranks; r++) {
    flops += all[r].flops;
    tokens += all[r].tokens;
  }
  if (flops == 0.0) {
    log_info("work       no model is run; the time goes into files");
    return;
  }
  log_info("work       %.1f GFLOP and %.0f tokens%s, all ranks together", giga * flops, tokens,
           all[0].steps > 0 ? " a step" : "");
  if (all[0].cost_count > 0) dry_run_print_time(all, ranks);
}

status_t dry_run(session_t *session, status_t (*task)(session_t *session)) {
  SCOPED_MEMORY estimate_t *all = NULL;
  estimate_t estimate;
  log_info("dry run    task %s: nothing is kept", session->settings->job.task);
  double gpu_memory = session->settings->parallel.gpu_memory;
  if (gpu_memory > 0.0)
    log_info("device     a GPU with %.1f GB for each rank (parallel.gpu_memory)", gpu_memory);
  else
    log_info("device     %s (%s), products in %s %.1f GFLOP/s, streaming %.1f GB/s", session->device->name,
             session->device->detail, dtype_name(session->device->real_type), giga * session->product_flops,
             giga * session->stream_bytes);
  TRY(grid_describe(&session->grid, &session->cores));
  TRY(dry_run_estimate(session, task, &estimate));
  TRY(memory_alloc(&all, ARENA_OTHER, (size_t)session->grid.size, sizeof *all));
  TRY(comm_allgather(session->world, &estimate, all, sizeof estimate, COMM_BYTE));
  if (comm_rank(session->world) != 0) return STATUS_OK;
  if (gpu_memory > 0.0)
    dry_run_print_gpu(all, session->grid.size, session->settings);
  else
    dry_run_print_memory(all, session->grid.size);
  if (all[0].steps > 0)
    dry_run_print_checkpoints(session->settings, &all[0]);
  else
    dry_run_print_outputs(&all[0]);
  dry_run_print_work(all, session->grid.size);
  return STATUS_OK;
}
