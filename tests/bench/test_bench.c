/* Task bench on a small decoder: what it counts, and the files that a run leaves. */
#define _GNU_SOURCE
#include "bench/bench.h"

#include "base/memory.h"
#include "io/json.h"
#include "mpi_test.h"
#include "tensor/cpu/cpu.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { C = 64, L = 2, F = 96, V = 300, SEQUENCES = 3, LENGTH = 20, DECODED = 5 };

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

static status_t create_cpu(const grid_t *grid, const settings_t *settings, device_t **out) {
  (void)settings;
  return cpu_create(grid->threads, NULL, out);
}

/* Runs the task with TP in FOLDER; a run directory below it. */
static void run_bench(const char *folder, int tp) {
  static const device_entry_t devices[] = {{"cpu", create_cpu}};
  char text[1024];
  settings_t settings;
  session_t session;
  snprintf(
      text, sizeof text,
      "&job task = 'bench' run_dir = '%s/run' /\n&parallel tp = %d /\n&log trace = T level = 'warning' /\n"
      "&bench hidden = %d layers = %d heads = 4 mlp = %d vocab = %d sequences = %d length = %d "
      "decode_tokens = %d repetitions = 1 /\n",
      folder, tp, C, L, F, V, SEQUENCES, LENGTH, DECODED);
  assert_ok(settings_read_text("test", text, 0, NULL, &settings, NULL));
  assert_ok(session_prepare(mpi_test_world(), &settings, devices, 1, &session));
  assert_ok(session_open(&session, "test"));
  status_code_t status = bench_run(&session);
  if (status != STATUS_OK) fail_msg("%s", error_message());
  session_close(&session, status);
  settings_free(&settings);
}

/* FLOPs of one dp group's training step: 2 per weight and token forward, 4 backward, and attention. */
static double training_flops(void) {
  double tokens = SEQUENCES * LENGTH, predictions = SEQUENCES * (LENGTH - 1);
  double pairs = SEQUENCES * 0.5 * LENGTH * (LENGTH + 1);
  double layers = L * (4.0 * C * C + 3.0 * C * F);
  return 6.0 * tokens * layers + 6.0 * predictions * C * V + 3.0 * 4.0 * pairs * C * L;
}

static double number_of(const json_t *object, const char *key) {
  double value;
  assert_ok(json_real(object, key, "bench.json", &value));
  return value;
}

static void check_result(const char *folder, int tp) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  const json_t *cases;
  int dp = comm_size(mpi_test_world()) / tp;
  assert_ok(file_join(path, folder, "run/bench.json", NULL));
  assert_ok(json_parse_file(path, 1 << 20, &document));
  assert_ok(json_array(document.root, "cases", "bench.json", &cases));
  assert_int_equal(cases->count, 5);
  const json_t *all = json_at(cases, 0), *adapters = json_at(cases, 1), *decode = json_at(cases, 3);
  assert_true(number_of(all, "tokens") == dp * SEQUENCES * LENGTH);
  double flops = number_of(all, "flops") * tp;
  assert_true(flops > 0.999 * training_flops() && flops < 1.001 * training_flops());
  assert_true(number_of(adapters, "flops") > 0.0);
  assert_true(number_of(decode, "tokens") == dp * DECODED);
  double weights = L * (4.0 * C * C + 3.0 * C * F + 2.0 * C) + C + (double)C * V;
  /* For each token every weight is read once, the positions so far, and the token's own is written first. */
  double positions = DECODED * (LENGTH + 1 + 0.5 * (DECODED - 1)) + DECODED;
  double least = 4.0 * (DECODED * weights + positions * 2 * C * L);
  if (tp == 1) assert_true(number_of(decode, "bytes") > least && number_of(decode, "bytes") < 2.0 * least);
  for (const json_t *one = cases->u.first; one; one = one->next) {
    const json_t *operations;
    double sum = 0.0;
    assert_ok(json_array(one, "operations", "bench.json", &operations));
    assert_true(operations->count >= 5);
    for (const json_t *operation = operations->u.first; operation; operation = operation->next)
      sum += number_of(operation, "seconds");
    assert_true(sum > 0.0 && sum <= number_of(one, "operation_seconds"));
    assert_true(number_of(one, "seconds") > 0.0);
  }
  json_free(&document);
}

/* The performance table as data knows the memory of the processes. */
static void check_resident(const char *folder) {
  char path[FILE_MAX_PATH];
  json_document_t document;
  assert_ok(file_join(path, folder, "run/perf.json", NULL));
  assert_ok(json_parse_file(path, 1 << 20, &document));
  double resident = number_of(document.root, "resident_bytes"),
         rank = number_of(document.root, "resident_rank");
  assert_true(resident > 1e6 && resident < 1e12);
  assert_true(rank >= 0 && rank < comm_size(mpi_test_world()));
  json_free(&document);
}

/* What every run leaves besides its results. */
static void check_records(const char *folder) {
  static const char *const names[] = {"run/run.json", "run/perf.json", "run/report.html", "run/input.nml",
                                      "run/trace/rank_0.json.gz"};
  char path[FILE_MAX_PATH];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    assert_ok(file_join(path, folder, names[i], NULL));
    if (!file_exists(path)) fail_msg("%s is missing", names[i]);
  }
}

/* The timeline has the operations that the task ran. */
static void check_timeline(const char *folder) {
  enum { MOST = 1 << 22 };
  char path[FILE_MAX_PATH];
  SCOPED_MEMORY char *text = NULL;
  assert_ok(file_join(path, folder, "run/trace/rank_0.json.gz", NULL));
  assert_ok(memory_alloc(&text, ARENA_OTHER, MOST, 1));
  gzFile file = gzopen(path, "rb");
  assert_non_null(file);
  int n = gzread(file, text, MOST - 1);
  assert_int_equal(gzclose(file), Z_OK);
  assert_true(n > 0);
  assert_non_null(strstr(text, "\"name\": \"linear\", \"cat\": \"operation\""));
  assert_non_null(strstr(text, "\"name\": \"adamw\", \"cat\": \"operation\""));
}

static void bench_with(int tp) {
  char folder[FILE_MAX_PATH] = "/tmp/llava_bench_XXXXXX";
  bool first = comm_rank(mpi_test_world()) == 0;
  if (first) assert_non_null(mkdtemp(folder));
  assert_ok(comm_broadcast(mpi_test_world(), folder, FILE_MAX_PATH, COMM_BYTE, 0));
  run_bench(folder, tp);
  if (!first) return;
  check_result(folder, tp);
  check_records(folder);
  check_timeline(folder);
  check_resident(folder);
  nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void every_rank_for_itself(void **state) {
  (void)state;
  bench_with(1);
}

static void all_ranks_share_the_model(void **state) {
  (void)state;
  bench_with(comm_size(mpi_test_world()));
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_rank_for_itself),
      cmocka_unit_test(all_ranks_share_the_model),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
