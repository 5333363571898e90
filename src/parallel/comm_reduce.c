/* Reductions whose result is the same bits on every rank.
 *
 * The MPI standard only recommends that. Open MPI 4.1's allreduce algorithms do give all ranks the same bits
 * of a sum; others may add in another order on each rank, in any library the order depends on message size
 * and version, and which of +0 and -0 is the larger is open. So for floating-point numbers: few ranks (every
 * tp group): each rank reduces its share of the elements in the order of the ranks and sends it to the
 * others; a short buffer is simply sent whole from each to each. Besides being exact to define, this was as
 * fast as MPI_Iallreduce, and about 1.5 times as fast as MPI_Ireduce + MPI_Ibcast, on 2 to 8 ranks of a node
 * (Open MPI 4.1.4). many ranks: MPI_Ireduce to rank 0, MPI_Ibcast from there. Integers go through
 * MPI_Iallreduce: no order changes their result. */
#include "base/memory.h"
#include "parallel/comm_internal.h"
#include "perf/perf.h"

#include <math.h>
#include <string.h>

/* Among ranks that talk to each other directly (COMM_DIRECT_RANKS) buffers up to SHORT_BYTES go whole.
 * DIRECT_BYTES bounds the scratch. */
enum { SHORT_BYTES = 4096, DIRECT_BYTES = 16 << 20, TAG_SHARE = 3, TAG_RESULT = 4 };

static MPI_Op op_mpi(comm_op_t op) {
  return op == COMM_SUM ? MPI_SUM : op == COMM_MAX ? MPI_MAX : MPI_MIN;
}

/* INTO (n) = INTO op FROM (n), element by element. */
typedef void combine_t(void *into, const void *from, size_t n);

static void sum_f32(void *into, const void *from, size_t n) {
  float *restrict a = into;
  const float *restrict b = from;
  for (size_t i = 0; i < n; i++)
    a[i] += b[i];
}

static void max_f32(void *into, const void *from, size_t n) {
  float *restrict a = into;
  const float *restrict b = from;
  for (size_t i = 0; i < n; i++)
    a[i] = b[i] > a[i] ? b[i] : a[i];
}

static void min_f32(void *into, const void *from, size_t n) {
  float *restrict a = into;
  const float *restrict b = from;
  for (size_t i = 0; i < n; i++)
    a[i] = b[i] < a[i] ? b[i] : a[i];
}

static void sum_f64(void *into, const void *from, size_t n) {
  double *restrict a = into;
  const double *restrict b = from;
  for (size_t i = 0; i < n; i++)
    a[i] += b[i];
}

static void max_f64(void *into, const void *from, size_t n) {
  double *restrict a = into;
  const double *restrict b = from;
  for (size_t i = 0; i < n; i++)
    a[i] = b[i] > a[i] ? b[i] : a[i];
}

static void min_f64(void *into, const void *from, size_t n) {
  double *restrict a = into;
  const double *restrict b = from;
  for (size_t i = 0; i < n; i++)
    a[i] = b[i] < a[i] ? b[i] : a[i];
}

/* Ties go to the smaller index; NaN loses against numbers. */
static void comm_reduce_maxloc(void *into, const void *from, size_t n) {
  comm_maxloc_t *a = into;
  const comm_maxloc_t *b = from;
  for (size_t i = 0; i < n; i++) {
    bool a_nan = isnan(a[i].value), b_nan = isnan(b[i].value);
    bool tie = a[i].value == b[i].value || (a_nan && b_nan);
    bool larger = b[i].value > a[i].value || (a_nan && !b_nan);
    if (larger || (tie && b[i].index < a[i].index)) a[i] = b[i];
  }
}

/* NULL where reductions go through MPI. */
static combine_t *const combiners[][3] = {
    [COMM_F32] = {[COMM_SUM] = sum_f32, [COMM_MAX] = max_f32, [COMM_MIN] = min_f32},
    [COMM_F64] = {[COMM_SUM] = sum_f64, [COMM_MAX] = max_f64, [COMM_MIN] = min_f64},
    [COMM_BYTE] = {NULL},
};

/* maxloc as MPI calls it. */
static void maxloc_mpi(void *in, void *inout, int *count, MPI_Datatype *type) {
  (void)type;
  comm_reduce_maxloc(inout, in, (size_t)*count);
}

status_t comm_make_maxloc(comm_t *world) {
  /* One value and one index, both of 8 bytes: bytes are enough, for the ranks of a job are of one kind. */
  TRY_MPI(MPI_Type_contiguous((int)sizeof(comm_maxloc_t), MPI_BYTE, &world->maxloc_type));
  TRY_MPI(MPI_Type_commit(&world->maxloc_type));
  TRY_MPI(MPI_Op_create(maxloc_mpi, 1, &world->maxloc_op));
  return STATUS_OK;
}

/* What the others sent, by rank in OTHERS (this rank's place there is unused), reduced together with OWN (n)
 * in the order of the ranks; the result replaces OWN. */
static void combine_in_order(const comm_t *comm, char *others, char *own, size_t n, size_t size,
                             combine_t *combine) {
  char *result = comm->rank == 0 ? own : others;
  for (int r = 1; r < comm->size; r++)
    combine(result, r == comm->rank ? own : others + (size_t)r * n * size, n);
  if (result != own) memcpy(own, result, n * size);
}

void comm_sum_in_order(const comm_t *comm, char *others, char *own, size_t n, comm_type_t type) {
  combine_in_order(comm, others, own, n, comm_type_size(type), combiners[type][COMM_SUM]);
}

static status_t comm_reduce_reserve(comm_t *comm, size_t bytes) {
  if (bytes <= comm->scratch_size) return STATUS_OK;
  memory_free(comm->scratch);
  comm->scratch = NULL;
  comm->scratch_size = 0;
  TRY(memory_alloc(&comm->scratch, ARENA_COMM, bytes, 1));
  comm->scratch_size = bytes;
  return STATUS_OK;
}

/* Everyone sends everything (N elements of SIZE bytes) to everyone and reduces it all. */
static status_t reduce_short(comm_t *comm, char *data, size_t n, size_t size, combine_t *combine) {
  size_t bytes = n * size;
  comm_messages_t messages = {.count = 0};
  TRY(comm_reduce_reserve(comm, bytes * (size_t)comm->size));
  for (int step = 1; step < comm->size; step++) {
    int r = comm_other_rank(comm, comm->size - step);
    TRY(comm_message_start(&messages, comm, true, (char *)comm->scratch + (size_t)r * bytes, bytes, COMM_BYTE,
                           r, TAG_SHARE));
  }
  for (int step = 1; step < comm->size; step++)
    TRY(comm_message_start(&messages, comm, false, data, bytes, COMM_BYTE, comm_other_rank(comm, step),
                           TAG_SHARE));
  TRY(comm_mpi_wait(messages.requests, messages.count, "allreduce"));
  combine_in_order(comm, comm->scratch, data, n, size, combine);
  return STATUS_OK;
}

/* First of the N elements that rank R reduces. */
static size_t comm_reduce_share_begin(const comm_t *comm, size_t n, int r) {
  return n / (size_t)comm->size * (size_t)r + n % (size_t)comm->size * (size_t)r / (size_t)comm->size;
}

/* Sends each rank its share of this rank's elements; receives the others' elements of the own share. */
static status_t spread_shares(comm_t *comm, char *data, size_t n, size_t size) {
  comm_messages_t messages = {.count = 0};
  size_t own =
      comm_reduce_share_begin(comm, n, comm->rank + 1) - comm_reduce_share_begin(comm, n, comm->rank);
  TRY(comm_reduce_reserve(comm, own * size * (size_t)comm->size));
  for (int step = 1; step < comm->size; step++) {
    int r = comm_other_rank(comm, comm->size - step);
    TRY(comm_message_start(&messages, comm, true, (char *)comm->scratch + (size_t)r * own * size, own * size,
                           COMM_BYTE, r, TAG_SHARE));
  }
  for (int step = 1; step < comm->size; step++) {
    int r = comm_other_rank(comm, step);
    size_t begin = comm_reduce_share_begin(comm, n, r), end = comm_reduce_share_begin(comm, n, r + 1);
    TRY(comm_message_start(&messages, comm, false, data + begin * size, (end - begin) * size, COMM_BYTE, r,
                           TAG_SHARE));
  }
  return comm_mpi_wait(messages.requests, messages.count, "allreduce");
}

/* Every rank's reduced share reaches all. */
static status_t comm_reduce_collect_results(comm_t *comm, char *data, size_t n, size_t size) {
  comm_messages_t messages = {.count = 0};
  size_t own_begin = comm_reduce_share_begin(comm, n, comm->rank),
         own_end = comm_reduce_share_begin(comm, n, comm->rank + 1);
  for (int step = 1; step < comm->size; step++) {
    int r = comm_other_rank(comm, comm->size - step);
    size_t begin = comm_reduce_share_begin(comm, n, r), end = comm_reduce_share_begin(comm, n, r + 1);
    TRY(comm_message_start(&messages, comm, true, data + begin * size, (end - begin) * size, COMM_BYTE, r,
                           TAG_RESULT));
  }
  for (int step = 1; step < comm->size; step++)
    TRY(comm_message_start(&messages, comm, false, data + own_begin * size, (own_end - own_begin) * size,
                           COMM_BYTE, comm_other_rank(comm, step), TAG_RESULT));
  return comm_mpi_wait(messages.requests, messages.count, "allreduce");
}

static status_t reduce_by_shares(comm_t *comm, char *data, size_t n, size_t size, combine_t *combine) {
  size_t begin = comm_reduce_share_begin(comm, n, comm->rank),
         end = comm_reduce_share_begin(comm, n, comm->rank + 1);
  TRY(spread_shares(comm, data, n, size));
  combine_in_order(comm, comm->scratch, data + begin * size, end - begin, size, combine);
  return comm_reduce_collect_results(comm, data, n, size);
}

static status_t reduce_directly(comm_t *comm, char *data, size_t count, size_t size, combine_t *combine) {
  size_t step = comm_piece_elements(comm, size);
  if (step > DIRECT_BYTES / size) step = DIRECT_BYTES / size;
  for (size_t done = 0; done < count; done += step) {
    size_t n = count - done < step ? count - done : step;
    if (n * size <= SHORT_BYTES) {
      TRY(reduce_short(comm, data + done * size, n, size, combine));
    } else {
      TRY(reduce_by_shares(comm, data + done * size, n, size, combine));
    }
  }
  return STATUS_OK;
}

static status_t reduce_at_root(comm_t *comm, void *data, size_t count, comm_type_t type, comm_op_t op) {
  comm_piece_t piece;
  for (size_t done = 0; done < count; done += (size_t)piece.n) {
    MPI_Request request;
    piece = comm_piece_at(comm, data, comm_type_size(type), count, done);
    const void *mine = comm->rank == 0 ? MPI_IN_PLACE : piece.data;
    TRY_MPI(MPI_Ireduce(mine, piece.data, piece.n, comm_type_mpi(type), op_mpi(op), 0, comm->mpi, &request));
    TRY(comm_mpi_wait(&request, 1, "allreduce"));
  }
  return comm_broadcast_as(comm, data, count, type, 0, "allreduce");
}

/* For operations whose result depends on no order. */
static status_t reduce_in_any_order(comm_t *comm, void *data, size_t count, size_t size, MPI_Datatype type,
                                    MPI_Op op) {
  comm_piece_t piece;
  for (size_t done = 0; done < count; done += (size_t)piece.n) {
    MPI_Request request;
    piece = comm_piece_at(comm, data, size, count, done);
    TRY_MPI(MPI_Iallreduce(MPI_IN_PLACE, piece.data, piece.n, type, op, comm->mpi, &request));
    TRY(comm_mpi_wait(&request, 1, "allreduce"));
  }
  return STATUS_OK;
}

static status_t comm_reduce(comm_t *comm, void *data, size_t count, comm_type_t type, comm_op_t op) {
  combine_t *combine = combiners[type][op];
  size_t size = comm_type_size(type);
  if (combine == NULL) return reduce_in_any_order(comm, data, count, size, comm_type_mpi(type), op_mpi(op));
  if (comm_is_direct(comm)) return reduce_directly(comm, data, count, size, combine);
  return reduce_at_root(comm, data, count, type, op);
}

status_t comm_allreduce_as(comm_t *comm, void *data, size_t count, comm_type_t type, comm_op_t op,
                           collective_t collective) {
  if (comm->size == 1 || count == 0) return STATUS_OK;
  if (type == COMM_BYTE) return error_set(STATUS_INTERNAL, "comm_allreduce does not reduce bytes");
  double start = perf_now();
  TRY(comm_reduce(comm, data, count, type, op));
  comm_count(comm, collective, (double)(count * comm_type_size(type)), start);
  return STATUS_OK;
}

status_t comm_allreduce(comm_t *comm, void *data, size_t count, comm_type_t type, comm_op_t op) {
  return comm_allreduce_as(comm, data, count, type, op, COLLECTIVE_ALLREDUCE);
}

status_t comm_allreduce_maxloc(comm_t *comm, comm_maxloc_t *data, size_t count) {
  if (comm->size == 1 || count == 0) return STATUS_OK;
  double start = perf_now();
  if (comm_is_direct(comm)) {
    TRY(reduce_directly(comm, (char *)data, count, sizeof *data, comm_reduce_maxloc));
  } else {
    TRY(reduce_in_any_order(comm, data, count, sizeof *data, comm->maxloc_type, comm->maxloc_op));
  }
  comm_count(comm, COLLECTIVE_ALLREDUCE, (double)(count * sizeof *data), start);
  return STATUS_OK;
}

status_t comm_any(comm_t *comm, bool flag, bool *any) {
  int32_t value = flag;
  TRY(comm_allreduce_as(comm, &value, 1, COMM_I32, COMM_MAX, COLLECTIVE_AGREEMENT));
  *any = value != 0;
  return STATUS_OK;
}
