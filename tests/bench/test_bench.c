/* Task bench on a small decoder: what it counts, and the files that a run leaves. */
#define _GNU_SOURCE
#include "bench/bench.h"

#include "base/memory.h"
#include "io/json.h"
#include "mpi_test.h"
#include "tensor/cpu/cpu.h"

#include <ftw.h>
#include <math.h>
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

/* Each look finds so many more. */
enum { JOULES = 3 };
static double count_energy(device_t *device) {
  static double joules;
  (void)device;
  return joules += JOULES;
}

static status_t create_cpu(const grid_t *grid, const settings_t *settings, device_t **out) {
  (void)settings;
  TRY(cpu_create(grid->threads, NULL, out));
  (*out)->energy = count_energy;
  return STATUS_OK;
}

/* Runs the task with TP in FOLDER, a run directory below it; with N settings more. */
static void run_bench(const char *folder, int tp, int n, const char *const *more) {
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
  assert_ok(settings_read_text("test", text, n, more, &settings, NULL));
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

static const json_t *cases_of(const char *folder, json_document_t *document) {
  char path[FILE_MAX_PATH];
  const json_t *cases;
  assert_ok(file_join(path, folder, "run/bench.json", NULL));
  assert_ok(json_parse_file(path, 1 << 20, document));
  assert_ok(json_array(document->root, "cases", "bench.json", &cases));
  return cases;
}

/* Bytes that decoding one sequence behind LENGTH tokens moves at the least, of numbers of so many bytes: for
 * each token every weight is read once, the positions so far, and the token's own is written first. */
static double decode_bytes(int length, double projection, double matrix, double key) {
  double projections = L * (4.0 * C * C + 3.0 * C * F);
  double weights = projections * projection + L * 2.0 * C * 4.0 + C * 4.0 + (double)C * V * matrix;
  double positions = DECODED * (length + 1 + 0.5 * (DECODED - 1)) + DECODED;
  return DECODED * weights + positions * 2 * C * L * key;
}

static const json_t *operation_of(const json_t *one, const char *name) {
  const json_t *operations;
  assert_ok(json_array(one, "operations", "bench.json", &operations));
  for (const json_t *operation = operations->u.first; operation; operation = operation->next) {
    const char *found;
    assert_ok(json_string(operation, "name", "bench.json", &found));
    if (strcmp(found, name) == 0) return operation;
  }
  fail_msg("no operation '%s'", name);
  return NULL;
}

/* Of a training step with all weights: CALLS of operation NAME, with so many FLOPs on all tp ranks, and the
 * time that the peaks allow for them. */
static void check_operation(const json_document_t *document, const json_t *one, const char *name, int calls,
                            double flops) {
  const json_t *operation = operation_of(one, name);
  double least = flops / number_of(document->root, "product_flops");
  double moving = number_of(operation, "bytes") / number_of(document->root, "stream_bytes");
  double lower = least > moving ? least : moving;
  assert_int_equal((int)number_of(operation, "calls"), calls);
  assert_true(fabs(number_of(operation, "flops") - flops) < 1e-9 * flops);
  assert_true(fabs(number_of(operation, "floor_seconds") - lower) < 1e-6 * lower);
}

static void check_linear(const json_document_t *document, const json_t *all, int tp) {
  const double tokens = SEQUENCES * LENGTH, predictions = SEQUENCES * (LENGTH - 1), share = 2.0 * L / tp;
  check_operation(document, all, "linear, q k v", L, share * tokens * 3 * C * C);
  check_operation(document, all, "linear, o", L, share * tokens * C * C);
  check_operation(document, all, "linear, gate up", L, share * tokens * 2 * C * F);
  check_operation(document, all, "linear, down", L, share * tokens * C * F);
  check_operation(document, all, "backward, q k v", L, 2 * share * tokens * 3 * C * C);
  check_operation(document, all, "backward, down", L, 2 * share * tokens * C * F);
  double head = number_of(operation_of(all, "linear, head"), "flops");
  assert_true(head * tp >= 2.0 * predictions * C * V && head * tp < 1.1 * 2.0 * predictions * C * V);
}

/* Its operations took time, and no more than all of it. */
static void check_operations(const json_t *one) {
  const json_t *operations;
  double sum = 0.0;
  assert_ok(json_array(one, "operations", "bench.json", &operations));
  assert_true(operations->count >= 5);
  for (const json_t *operation = operations->u.first; operation; operation = operation->next)
    sum += number_of(operation, "seconds");
  assert_true(sum > 0.0 && sum <= number_of(one, "operation_seconds"));
  assert_true(number_of(one, "seconds") > 0.0);
}

static void check_result(const char *folder, int tp) {
  json_document_t document;
  const json_t *cases = cases_of(folder, &document);
  int dp = comm_size(mpi_test_world()) / tp;
  assert_int_equal(cases->count, 5);
  const json_t *all = json_at(cases, 0), *adapters = json_at(cases, 1), *decode = json_at(cases, 3);
  assert_true(number_of(all, "tokens") == dp * SEQUENCES * LENGTH);
  double flops = number_of(all, "flops") * tp;
  assert_true(flops > 0.999 * training_flops() && flops < 1.001 * training_flops());
  assert_true(number_of(adapters, "flops") > 0.0);
  assert_true(number_of(decode, "tokens") == dp * DECODED);
  double least = decode_bytes(LENGTH, 4.0, 4.0, 4.0);
  if (tp == 1) assert_true(number_of(decode, "bytes") > least && number_of(decode, "bytes") < 2.0 * least);
  for (const json_t *one = cases->u.first; one; one = one->next)
    check_operations(one);
  check_linear(&document, all, tp);
  assert_true(number_of(all, "joules") == JOULES * comm_size(mpi_test_world()));
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
  assert_true(number_of(document.root, "joules") > JOULES * comm_size(mpi_test_world()));
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

static void make_folder(char *folder) {
  if (comm_rank(mpi_test_world()) == 0) assert_non_null(mkdtemp(folder));
  assert_ok(comm_broadcast(mpi_test_world(), folder, FILE_MAX_PATH, COMM_BYTE, 0));
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
  make_folder(folder);
  run_bench(folder, tp, 0, NULL);
  if (comm_rank(mpi_test_world()) != 0) return;
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

/* Bytes of decoding, of a base whose projections are kept as MORE says: behind more tokens, of more sequences
 * than training has. */
static void check_decoding(const char *format, double projection, double matrix, double key,
                           const char *setting) {
  enum { TOKENS = 130, DECODED_SEQUENCES = 7 };
  const char *const more[] = {"bench.cases='train_all','decode_1','decode_all'", "bench.decode_length=130",
                              "bench.decode_sequences=7", setting};
  char folder[FILE_MAX_PATH] = "/tmp/llava_bench_XXXXXX";
  json_document_t document;
  make_folder(folder);
  run_bench(folder, 1, 4, more);
  if (comm_rank(mpi_test_world()) != 0) return;
  const json_t *cases = cases_of(folder, &document), *one = json_at(cases, 1), *all = json_at(cases, 2);
  const char *found;
  assert_ok(json_string(document.root, "weights_format", "bench.json", &found));
  assert_string_equal(found, format);
  assert_int_equal(cases->count, 3);
  /* What is trained is kept in the compute type. */
  double flops = number_of(json_at(cases, 0), "flops");
  assert_true(flops > 0.999 * training_flops() && flops < 1.001 * training_flops());
  double bytes = number_of(one, "bytes"), least = decode_bytes(TOKENS, projection, matrix, key);
  assert_true(bytes > least && bytes < 1.35 * least);
  int dp = comm_size(mpi_test_world());
  assert_true(number_of(all, "tokens") == dp * DECODED_SEQUENCES * DECODED);
  double cached = 2.0 * DECODED * TOKENS * C * L * key;
  assert_true(number_of(all, "bytes") - bytes > (DECODED_SEQUENCES - 1) * cached);
  json_free(&document);
  nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void decoding_reads_what_is_kept(void **state) {
  const double nf4 = 0.5 + 1.0 / 64;
  (void)state;
  check_decoding("bf16", 2.0, 2.0, 2.0, "parallel.dtype='bf16'");
  check_decoding("nf4", nf4, 4.0, 4.0, "model.base_format='nf4'");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_rank_for_itself),
      cmocka_unit_test(all_ranks_share_the_model),
      cmocka_unit_test(decoding_reads_what_is_kept),
  };
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
