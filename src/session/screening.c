#include "session/screening.h"

#include "base/log.h"
#include "base/memory_pool.h"
#include "perf/perf.h"

#include <math.h>
#include <string.h>

enum {
  BLOCK = 512, /* samples that each rank looks at before the ranks meet */
  MOST_NAMED = 5,
  NAMES_BYTES = 512,
  BAD = 1 << 8 /* among what a look finds */
};

/* The first few samples of a kind. */
typedef struct {
  char text[NAMES_BYTES];
  int32_t count;
} screening_names_t;

typedef struct {
  session_t *session;
  source_t *source;
  const screening_t *screening;
  dataset_rows_t *rows;
  int64_t total, kept;
  bool writes; /* the rows, for all that share them */
  screening_counts_t *counts;
  screening_names_t bad, dropped, idle; /* rank 0's */
} screening_work_t;

/* Reads and judges ROW; *BAD: an error, STATUS_DATA, says that it cannot be used. */
static status_t screening_look(const screening_work_t *work, int64_t row, int32_t *found, bool *bad) {
  SCOPED(dataset_sample_free) dataset_sample_t sample = {0};
  *found = 0;
  *bad = false;
  TRY(dataset_sample_read(work->source->dataset, row, &sample));
  status_code_t status = work->screening->look(work->screening->context, row, &sample, found);
  *bad = status == STATUS_DATA;
  return source_name_sample(work->source, row, sample.id.bytes, status);
}

/* The reason why ROW is bad, as an error. */
static status_t bad_again(const screening_work_t *work, int64_t row) {
  int32_t found;
  bool bad;
  TRY(screening_look(work, row, &found, &bad));
  return error_set(STATUS_DATA, "row %lld of %s could not be used when it was looked at first",
                   (long long)row, dataset_path(work->source->dataset));
}

static status_t screening_add_name(const screening_work_t *work, int64_t row, screening_names_t *names) {
  SCOPED(dataset_sample_free) dataset_sample_t sample = {0};
  size_t used = strlen(names->text);
  if (work->session->grid.rank != 0 || names->count == MOST_NAMED) return STATUS_OK;
  TRY(dataset_sample_read(work->source->dataset, row, &sample));
  snprintf(names->text + used, sizeof names->text - used, "%s'%.80s'", names->count > 0 ? ", " : "",
           sample.id.bytes);
  names->count++;
  return STATUS_OK;
}

/* ROW is bad. */
static status_t screening_leave_out(screening_work_t *work, int64_t row) {
  if (!work->source->skip_bad) return bad_again(work, row);
  work->counts->bad++;
  if (work->session->grid.rank == 0 && work->bad.count < MOST_NAMED) {
    status_code_t status = bad_again(work, row);
    if (status != STATUS_DATA) return status;
    log_warning("skipped: %s", error_message());
    error_clear();
  }
  return screening_add_name(work, row, &work->bad);
}

static status_t screening_settle_row(screening_work_t *work, int64_t row, int32_t found) {
  screening_counts_t *counts = work->counts;
  if (found & BAD) return screening_leave_out(work, row);
  if (found & SCREENING_DROPPED) {
    counts->dropped++;
    return screening_add_name(work, row, &work->dropped);
  }
  if (work->writes) work->rows->rows[work->kept] = row;
  work->kept++;
  counts->facts += (found & SCREENING_FACTS) != 0;
  if (!(found & SCREENING_IDLE)) return STATUS_OK;
  counts->idle++;
  return screening_add_name(work, row, &work->idle);
}

/* What is looked at before the ranks meet. */
typedef struct {
  int32_t *found; /* (n) */
  int64_t *rows;  /* (n): this rank's own copy, for those that are left move up meanwhile */
} screening_block_t;

/* Rows begin .. begin + n - 1: every rank looks at its share, and then all know what was found. */
static status_t work_block(screening_work_t *work, int64_t begin, int64_t n, const screening_block_t *block) {
  const grid_t *grid = &work->session->grid;
  int32_t *found = block->found;
  status_code_t status = STATUS_OK;
  memset(found, 0, (size_t)n * sizeof *found);
  memcpy(block->rows, work->rows->rows + begin, (size_t)n * sizeof *block->rows);
  for (int64_t i = grid->rank; i < n && status == STATUS_OK; i += grid->size) {
    bool bad;
    status = screening_look(work, block->rows[i], &found[i], &bad);
    if (!bad) continue;
    error_clear();
    found[i] = BAD;
    status = STATUS_OK;
  }
  TRY(comm_agree(grid->world, status));
  TRY(comm_allreduce(grid->world, found, (size_t)n, COMM_I32, COMM_SUM));
  for (int64_t i = 0; i < n && status == STATUS_OK; i++)
    status = screening_settle_row(work, block->rows[i], found[i]);
  return comm_agree(grid->world, status);
}

/* Without a finished step: where nobody asked, another start would get no further either. */
static status_t screening_stop_here(session_t *session) {
  bool asked;
  double passed = perf_now() - session->started;
  TRY(session_stopped(session, &asked));
  if (asked) return error_set(STATUS_STOPPED, "stopped before the first step, while samples were looked at");
  return error_set(
      STATUS_INPUT,
      "job.max_seconds = %g s were over while samples were looked at, %.1f s after the start and before "
      "the first step; raise it to at least %.0f s",
      session->settings->job.max_seconds, passed, ceil(2.0 * passed));
}

static status_t screening_work_all(screening_work_t *work, int64_t size, const screening_block_t *block) {
  session_t *session = work->session;
  bool shown = work->total > size && !session->dry, stop;
  if (shown) log_progress("samples", 0, work->total, "looked at", NULL);
  for (int64_t begin = 0; begin < work->total; begin += size) {
    int64_t n = work->total - begin < size ? work->total - begin : size;
    TRY(comm_any(session->world, session_stop_requested(session, 0.0), &stop));
    if (stop) return screening_stop_here(session);
    TRY(work_block(work, begin, n, block));
    if (shown) log_progress("samples", begin + n, work->total, "looked at", NULL);
  }
  return STATUS_OK;
}

/* "N of TOTAL samples for USE in PATH WHAT: 'a', 'b', ..." */
static void screening_warn(const screening_work_t *work, int64_t n, int64_t total, const char *what,
                           const screening_names_t *names) {
  if (n == 0 || work->session->grid.rank != 0) return;
  log_warning("%lld of %lld samples for %s in %s %s: %s%s", (long long)n, (long long)total,
              work->screening->use, dataset_path(work->source->dataset), what, names->text,
              n > names->count ? ", ..." : "");
}

static status_t screening_conclude(const screening_work_t *work) {
  const screening_counts_t *counts = work->counts;
  const screening_t *screening = work->screening;
  const char *path = dataset_path(work->source->dataset);
  screening_warn(work, counts->bad, work->total, "are bad and left out (data.bad_sample = 'skip')",
                 &work->bad);
  screening_warn(work, counts->dropped, work->total, screening->dropped, &work->dropped);
  if (work->kept == 0)
    return error_set(STATUS_DATA, "none of the %lld samples for %s in %s can be used: %lld are bad, %lld %s",
                     (long long)work->total, screening->use, path, (long long)counts->bad,
                     (long long)counts->dropped, screening->dropped ? screening->dropped : "are left out");
  if (counts->idle == work->kept)
    return error_set(STATUS_DATA, "all %lld samples for %s in %s %s", (long long)work->kept, screening->use,
                     path, screening->idle);
  screening_warn(work, counts->idle, work->kept, screening->idle, &work->idle);
  return STATUS_OK;
}

status_t screening_run(session_t *session, source_t *source, const screening_t *screening,
                       dataset_rows_t *rows, screening_counts_t *counts) {
  *counts = (screening_counts_t){0};
  screening_work_t work = {.session = session,
                           .source = source,
                           .screening = screening,
                           .rows = rows,
                           .total = rows->count,
                           .writes = node_memory_writes(rows->memory),
                           .counts = counts};
  int64_t size = (int64_t)BLOCK * session->grid.size;
  screening_block_t block = {0};
  POOL(pool, ARENA_DATA);
  if (size > rows->count) size = rows->count;
  status_code_t status = memory_pool_alloc(&pool, &block.found, (size_t)size, sizeof *block.found);
  if (status == STATUS_OK) status = memory_pool_alloc(&pool, &block.rows, (size_t)size, sizeof *block.rows);
  TRY(comm_agree(session->world, status));
  if (work.total > 0) TRY(screening_work_all(&work, size, &block));
  rows->count = work.kept;
  TRY(node_memory_meet(rows->memory));
  return screening_conclude(&work);
}

bool screening_has_facts(const dataset_sample_t *sample) {
  for (int32_t i = 0; i < sample->fact_count; i++)
    if (text_strip(sample->facts[i]).n > 0) return true;
  return false;
}
