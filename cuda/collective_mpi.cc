/* Collectives by an MPI that is given device memory (CUDA-aware), in windows: memory of cudaMalloc, which is
 * kept. What operations work on is of the driver's pool (cudaMallocAsync), which processes cannot open each
 * other's parts of by cuIpcGetMemHandle, nor every network card read: MPI libraries fail there, or crash, or
 * take a slow way. A copy into a window and one out of it cost the GPU a fraction of what a network takes.
 *
 * MPI knows no streams. So whoever gives it a window waits first for the compute stream, in whose order all
 * copies into and out of windows are. Afterwards nothing is to be waited for: what MPI has received lies in
 * device memory when its wait ends, and what the host then asks of the stream comes behind that.
 *
 * It is given windows in messages only, from each rank to each: Open MPI's own transport takes no device
 * memory in collectives that do not block. So this way is for communicators that are direct (comm.h).
 *
 * Results have the bits that host memory would give: parts are put together in the order of the ranks, in
 * fp32, and rounded once. */
#include "cuda/collective.h"
#include "cuda/parts.h"

extern "C" {
#include "perf/perf.h"
}

/* Bytes of the window of one collective at a time: larger arrays go in pieces. Arrays of which all parts
 * together take up to SHORT_BYTES go whole to each rank. */
enum { WINDOW_MOST = 32 << 20, SHORT_BYTES = 256 << 10 };
/* Sums under way: of more, the oldest is waited for first. Elements of which shares are multiples: 16 bytes.
 */
enum { SLOTS = 4, SHARE_UNIT = 8 };

struct window_t {
  void *memory;
  size_t bytes;
  bool is_given;   /* MPI may work on it */
  window_t *older; /* too small for what came later */
};

/* A sum under way works in a slot's window: on what is sent (size * n), then on what is received. */
struct slot_t;
struct mpi_request_t : request_t {
  comm_request_t *exchange;
  slot_t *slot; /* NULL: the sum is in its place */
};
struct slot_t {
  window_t *window;
  mpi_request_t *user; /* NULL: free */
};

struct windows_t {
  window_t *now; /* of collectives that are over when they return */
  slot_t slots[SLOTS];
  int next; /* the slot that is taken next, by turns */
};

static status_t windows_of(device_t *device, windows_t **out) {
  groups_t *groups = cuda_state(device)->groups;
  if (!groups->windows) TRY(memory_alloc(&groups->windows, ARENA_COMM, 1, sizeof *groups->windows));
  *out = groups->windows;
  return STATUS_OK;
}

static status_t window_allocate(device_t *device, window_t *window, size_t bytes) {
  const cuda_state_t *state = cuda_state(device);
  cudaError_t error = cudaMalloc(&window->memory, bytes);
  if (error == cudaErrorMemoryAllocation) { /* the pool keeps what was given back */
    (void)cudaGetLastError();
    TRY_CUDA(cudaStreamSynchronize(state->compute.raw));
    TRY_CUDA(cudaMemPoolTrimTo(state->pool, 0));
    error = cudaMalloc(&window->memory, bytes);
  }
  TRY(cuda_status(error, "cudaMalloc of a window for MPI"));
  window->bytes = bytes;
  memory_account_device(ARENA_COMM, (int64_t)bytes);
  return STATUS_OK;
}

/* Sees that *NEWEST has BYTES. One that is too small stays behind it to the end, for other processes on this
 * GPU may have it mapped. */
static status_t window_reserve(device_t *device, window_t **newest, size_t bytes) {
  SCOPED_MEMORY window_t *window = NULL;
  if (*newest && bytes <= (*newest)->bytes) return STATUS_OK;
  TRY(memory_alloc(&window, ARENA_COMM, 1, sizeof *window));
  TRY(window_allocate(device, window, bytes));
  window->older = *newest;
  memory_hand_over(newest, &window);
  return STATUS_OK;
}

/* Windows that MPI may work on stay: after an error only, which ends the run. */
static void windows_free(window_t *newest) {
  while (newest) {
    window_t *window = newest;
    newest = window->older;
    if (!window->is_given) {
      (void)cudaFree(window->memory); /* waits for what the GPU does with it */
      memory_account_device(ARENA_COMM, -(int64_t)window->bytes);
    }
    memory_free(window);
  }
}

/* The window of collectives that are over when they return has all of its bytes from the start. */
static status_t window_now(device_t *device, window_t **out) {
  windows_t *windows;
  TRY(windows_of(device, &windows));
  TRY(window_reserve(device, &windows->now, WINDOW_MOST));
  *out = windows->now;
  return STATUS_OK;
}

static status_t copy(device_t *device, void *to, const void *from, size_t bytes) {
  if (bytes > 0)
    TRY_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda_state(device)->compute.raw));
  return STATUS_OK;
}

static size_t own_offset(const group_t *group, size_t share) {
  return (size_t)comm_rank(group->host) * share;
}

/* ALL, in WINDOW, gets each rank's block of BYTES (size), this rank's being there. */
static status_t window_gather(const group_t *group, window_t *window, char *all, const size_t *bytes,
                              collective_t collective) {
  window->is_given = true;
  TRY(comm_allgatherv_direct(group->host, all, bytes, collective));
  window->is_given = false;
  return STATUS_OK;
}

/* ---- All-reduce ---- */

/* An array of N elements, or a piece of one. */
struct piece_t {
  const group_t *group;
  char *data;
  dtype_t type;
  size_t n;
  comm_op_t op;
};

/* ALL, in WINDOW, gets each rank's BYTES. */
static status_t reduce_gather(const group_t *group, window_t *window, char *all, size_t bytes) {
  size_t equal[COMM_DIRECT_RANKS];
  for (int r = 0; r < comm_size(group->host); r++)
    equal[r] = bytes;
  return window_gather(group, window, all, equal, COLLECTIVE_ALLREDUCE);
}

/* Everything goes to everyone, who puts it together. */
static status_t reduce_whole(device_t *device, window_t *window, const piece_t &piece) {
  const int ranks = comm_size(piece.group->host);
  const size_t bytes = piece.n * dtype_size(piece.type);
  char *all = place_at(window->memory, 0);
  TRY(copy(device, all + own_offset(piece.group, bytes), piece.data, bytes));
  TRY(device_synchronize(device));
  TRY(reduce_gather(piece.group, window, all, bytes));
  return parts_combine(device, all, ranks, piece.type, piece.n, piece.op, piece.data);
}

/* Elements of each rank's share of N: the last ones may reach beyond them. */
static size_t share_elements(const group_t *group, size_t n) {
  const size_t ranks = (size_t)comm_size(group->host), unit = ranks * SHARE_UNIT;
  return (n + unit - 1) / unit * SHARE_UNIT;
}

/* Each rank puts its share together, which then goes to all. */
static status_t reduce_by_shares(device_t *device, window_t *window, const piece_t &piece) {
  const int ranks = comm_size(piece.group->host);
  const size_t each = dtype_size(piece.type), share = share_elements(piece.group, piece.n),
               bytes = share * each, all = (size_t)ranks * bytes, offset = own_offset(piece.group, bytes);
  char *send = place_at(window->memory, 0), *receive = send + all;
  TRY(copy(device, send, piece.data, piece.n * each));
  TRY(device_synchronize(device));
  window->is_given = true;
  TRY(comm_alltoall(piece.group->host, send, receive, bytes, COMM_BYTE, COLLECTIVE_ALLREDUCE));
  window->is_given = false;
  TRY(copy(device, receive + offset, send + offset, bytes));
  TRY(parts_combine(device, receive, ranks, piece.type, share, piece.op, send + offset));
  TRY(device_synchronize(device));
  TRY(reduce_gather(piece.group, window, send, bytes));
  return copy(device, piece.data, send, piece.n * each);
}

static status_t mpi_allreduce(device_t *device, const group_t *group, void *data, dtype_t type, size_t n,
                              comm_op_t op) {
  const size_t each = dtype_size(type), ranks = (size_t)comm_size(group->host), unit = ranks * SHARE_UNIT,
               most = WINDOW_MOST / 2 / each / unit * unit;
  window_t *window;
  if (n == 0) return STATUS_OK;
  comm_count(group->host, COLLECTIVE_ALLREDUCE, (double)(n * each), perf_now());
  TRY(window_now(device, &window));
  for (size_t done = 0; done < n; done += most) {
    const piece_t piece = {group, place_at(data, done * each), type, n - done < most ? n - done : most, op};
    TRY(ranks * piece.n * each <= SHORT_BYTES ? reduce_whole(device, window, piece)
                                              : reduce_by_shares(device, window, piece));
  }
  return STATUS_OK;
}

/* ---- All-gather ---- */

/* Bytes DONE .. of each rank's part, COUNTS (size) of them, from MINE to their places in ALL, where the parts
 * of BYTES (size) lie one behind the other. */
static status_t gather_round(device_t *device, const group_t *group, const char *mine, char *all,
                             const size_t *bytes, const size_t *counts, size_t done) {
  const gathered_t round = gathered(group, counts), parts = gathered(group, bytes);
  window_t *of;
  TRY(window_now(device, &of));
  char *window = place_at(of->memory, 0);
  TRY(copy(device, window + round.before, mine + done, counts[comm_rank(group->host)]));
  TRY(device_synchronize(device));
  TRY(window_gather(group, of, window, counts, COLLECTIVE_ALLGATHER));
  if (round.total == parts.total) return copy(device, all, window, round.total);
  for (int r = 0; r < comm_size(group->host); r++) {
    TRY(copy(device, all + done, window, counts[r]));
    window += counts[r];
    all += bytes[r];
  }
  return STATUS_OK;
}

static status_t mpi_allgatherv(device_t *device, const group_t *group, const void *mine, void *all,
                               const size_t *counts, dtype_t type) {
  const size_t ranks = (size_t)comm_size(group->host), most = WINDOW_MOST / ranks;
  size_t bytes[COMM_DIRECT_RANKS], now[COMM_DIRECT_RANKS], largest = 0;
  for (size_t r = 0; r < ranks; r++) {
    bytes[r] = counts[r] * dtype_size(type);
    if (bytes[r] > largest) largest = bytes[r];
  }
  if (largest == 0) return STATUS_OK;
  comm_count(group->host, COLLECTIVE_ALLGATHER, (double)bytes[comm_rank(group->host)], perf_now());
  for (size_t done = 0; done < largest; done += most) {
    for (size_t r = 0; r < ranks; r++) {
      const size_t left = bytes[r] > done ? bytes[r] - done : 0;
      now[r] = left < most ? left : most;
    }
    TRY(gather_round(device, group, static_cast<const char *>(mine), static_cast<char *>(all), bytes, now,
                     done));
  }
  return STATUS_OK;
}

/* ---- Sums in the background ---- */

/* Waits for what the others have sent; the sum goes to its place, and the slot to whoever comes next. */
static status_t request_finish(device_t *device, mpi_request_t *request) {
  const group_t *group = request->group;
  const int ranks = comm_size(group->host);
  const size_t bytes = request->n * sizeof(float), offset = own_offset(group, bytes);
  window_t *window = request->slot->window;
  char *send = place_at(window->memory, 0), *receive = send + (size_t)ranks * bytes;
  TRY(comm_wait(request->exchange));
  window->is_given = false;
  request->slot->user = NULL;
  request->slot = NULL;
  TRY(copy(device, receive + offset, send + offset, bytes));
  return parts_combine(device, receive, ranks, DTYPE_F32, request->n, COMM_SUM,
                       place_at(request->data, offset));
}

static status_t mpi_reduce_begin(device_t *device, request_t *begun) {
  mpi_request_t *request = static_cast<mpi_request_t *>(begun);
  const size_t all = (size_t)comm_size(request->group->host) * request->n * sizeof(float);
  windows_t *windows;
  TRY(windows_of(device, &windows));
  slot_t *slot = &windows->slots[windows->next];
  if (slot->user) TRY(request_finish(device, slot->user));
  TRY(window_reserve(device, &slot->window, 2 * all));
  char *send = place_at(slot->window->memory, 0);
  TRY(copy(device, send, request->data, all));
  TRY(device_synchronize(device));
  slot->window->is_given = true;
  TRY(comm_alltoall_begin(request->group->host, send, send + all, request->n, COMM_F32, &request->exchange));
  windows->next = (windows->next + 1) % SLOTS;
  slot->user = request;
  request->slot = slot;
  return STATUS_OK;
}

static void mpi_request_free(request_t *request) {
  memory_free(request);
}

static status_t mpi_reduce_end(device_t *device, request_t *begun) {
  mpi_request_t *request = static_cast<mpi_request_t *>(begun);
  if (request->slot) TRY(request_finish(device, request));
  memory_free(request);
  return STATUS_OK;
}

static void mpi_release(device_t *device) {
  windows_t *windows = cuda_state(device)->groups->windows;
  if (!windows) return;
  windows_free(windows->now);
  for (slot_t &slot : windows->slots)
    windows_free(slot.window);
  memory_free(windows);
}

const collective_way_t collective_mpi = {
    "by MPI on device memory", true,           sizeof(mpi_request_t), mpi_allreduce, mpi_allgatherv,
    mpi_reduce_begin,          mpi_reduce_end, mpi_request_free,      mpi_release};
