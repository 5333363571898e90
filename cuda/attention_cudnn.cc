#include "cuda/attention_cudnn.h"
#include "cuda/cudnn.h"

extern "C" {
#include "base/log.h"
}

/* STRIDE_UNIT: rows begin at multiples of it. PLANS: so many there are at most; those before give way. */
enum { STRIDE_UNIT = 8, ALIGNMENT = 256, PLANS = 512 };

struct cudnn_entry_t {
  cudnn_shape_t shape;
  cudnn_plan_t *plan;
};

struct cudnn_t {
  cudnn_library_t *library;
  bool has_backward;
  void *memory; /* offsets, lengths and workspace of one run; no graph holds it, so that it can be freed */
  size_t bytes;
  int count;
  cudnn_entry_t plans[PLANS];
};

status_t cuda_fill_cudnn(device_t *device) {
  cuda_state_t *state = cuda_state(device);
  TRY(memory_alloc(&state->cudnn, ARENA_OTHER, 1, sizeof *state->cudnn));
  cudnn_t *cudnn = state->cudnn;
  TRY(cudnn_open(state->compute.raw, &cudnn->library));
  cudnn->has_backward = cudnn_has_gradients(state->capability);
  log_info("device cuda: attention by %s%s", cudnn_version(),
           cudnn->has_backward ? "" : ", its gradients by own kernels (they would differ from run to run)");
  return STATUS_OK;
}

static void release(device_t *device) {
  cudnn_t *cudnn = cuda_state(device)->cudnn;
  if (cudnn->memory) device->release(device, cudnn->memory, cudnn->bytes);
  memory_account(ARENA_SCRATCH, -(int64_t)cudnn->bytes);
  cudnn->memory = NULL;
  cudnn->bytes = 0;
}

static void forget_plans(cudnn_t *cudnn) {
  for (int i = 0; i < cudnn->count; i++)
    cudnn_plan_free(cudnn->plans[i].plan);
  cudnn->count = 0;
}

void cuda_free_cudnn(device_t *device) {
  cudnn_t *cudnn = cuda_state(device)->cudnn;
  if (!cudnn) return;
  forget_plans(cudnn);
  release(device);
  cudnn_close(cudnn->library);
  memory_free(cudnn);
}

/* ---- Plans ---- */

/* Whether plans for A and B have kernels in common. */
static bool same_kernels(const cudnn_shape_t &a, const cudnn_shape_t &b) {
  cudnn_shape_t sized = a;
  sized.sequences = b.sequences;
  sized.longest = b.longest;
  return !a.is_backward && cudnn_shapes_equal(&sized, &b);
}

/* Where there are too many, all go: none is at work then, and graphs, which are of decode steps, hold none.
 */
static status_t add_plan(device_t *device, const cudnn_shape_t &shape, const cudnn_plan_t *kin,
                         const cudnn_plan_t **out) {
  cudnn_t *cudnn = cuda_state(device)->cudnn;
  if (cudnn->count == PLANS) {
    TRY(device_synchronize(device));
    forget_plans(cudnn);
    kin = nullptr;
  }
  cudnn_entry_t *entry = &cudnn->plans[cudnn->count];
  TRY(cudnn_plan_create(cudnn->library, nullptr, shape, kin, &entry->plan));
  entry->shape = shape;
  cudnn->count++;
  *out = entry->plan;
  log_debug("device cuda: a plan of %s for %lld sequences up to %lld, workspace %zu bytes", cudnn_version(),
            (long long)shape.sequences, (long long)shape.longest, cudnn_plan_workspace(entry->plan));
  return STATUS_OK;
}

/* *OUT: the plan for SHAPE, until the next is looked for. */
static status_t find_plan(device_t *device, const cudnn_shape_t &shape, const cudnn_plan_t **out) {
  const cudnn_t *cudnn = cuda_state(device)->cudnn;
  const cudnn_plan_t *kin = nullptr;
  for (int i = 0; i < cudnn->count; i++) {
    const cudnn_entry_t *entry = &cudnn->plans[i];
    if (cudnn_shapes_equal(&entry->shape, &shape)) {
      *out = entry->plan;
      return STATUS_OK;
    }
    if (same_kernels(shape, entry->shape)) kin = entry->plan;
  }
  return add_plan(device, shape, kin, out);
}

static cudnn_shape_t shape_of(const op_attention_t *op, bool is_backward) {
  const sequences_t *all = op->sequences;
  cudnn_shape_t shape = {};
  shape.is_backward = is_backward;
  shape.causal = op->causal;
  shape.keeps_lse = op->lse != NULL;
  shape.sequences = cudnn_bound(all->count);
  shape.longest = cudnn_bound(all->longest);
  if (is_backward) shape.positions = cudnn_bound(sequences_positions(all));
  shape.heads = all->heads;
  shape.kv_heads = all->kv_heads;
  shape.head_size = all->head_size;
  shape.ldq = op->ldq;
  shape.ldkv = op->ldkv;
  shape.ldo = op->ldo;
  shape.scale = (float)op->scale;
  return shape;
}

/* ---- Operations ---- */

static void *given(const void *pointer) {
  return const_cast<void *>(pointer); /* the library asks so for what it only reads, too */
}

static cudnn_operands_t operands_of(const op_attention_t *op) {
  cudnn_operands_t all = {};
  all.at[CUDNN_Q] = given(op->q);
  all.at[CUDNN_K] = given(op->k);
  all.at[CUDNN_V] = given(op->v);
  all.at[CUDNN_OUT] = op->out;
  all.at[CUDNN_LSE] = op->lse;
  return all;
}

/* Sees that there are BYTES of memory; what was in it is lost where it grows. */
static status_t reserve(device_t *device, size_t bytes) {
  cudnn_t *cudnn = cuda_state(device)->cudnn;
  if (bytes <= cudnn->bytes) return STATUS_OK;
  release(device);
  TRY(device->alloc(device, bytes, &cudnn->memory));
  memory_account(ARENA_SCRATCH, (int64_t)bytes);
  cudnn->bytes = bytes;
  return STATUS_OK;
}

static size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Runs the plan for SHAPE on OPERANDS and the sequences of OP. */
static status_t run(device_t *device, const op_attention_t *op, const cudnn_shape_t &shape,
                    cudnn_operands_t operands) {
  cuda_state_t *state = cuda_state(device);
  const size_t pitch = aligned(((size_t)shape.sequences + 1) * sizeof(int64_t)),
               lengths = aligned((size_t)shape.sequences * sizeof(int32_t)),
               own = RAGGED_MATRICES * pitch + lengths;
  const cudnn_plan_t *plan;
  TRY(find_plan(device, shape, &plan));
  TRY(reserve(device, own + cudnn_plan_workspace(plan)));
  char *memory = static_cast<char *>(state->cudnn->memory);
  const ragged_t ragged = {{shape.ldq, shape.ldkv, shape.ldo, shape.heads},
                           reinterpret_cast<int64_t *>(memory),
                           (int64_t)(pitch / sizeof(int64_t)),
                           reinterpret_cast<int32_t *>(memory + RAGGED_MATRICES * pitch)};
  TRY(ragged_write(device, op->sequences, shape.sequences, ragged));
  for (size_t m = 0; m < RAGGED_MATRICES; m++) /* in this order */
    operands.at[CUDNN_OFFSETS_Q + m] = memory + m * pitch;
  if (!shape.keeps_lse) operands.at[CUDNN_OFFSETS_LSE] = nullptr;
  operands.at[CUDNN_LENGTHS] = ragged.lengths;
  TRY(cudnn_plan_run(state->cudnn->library, plan, operands, memory + own));
  if (state->options.check && !state->capturing) TRY_CUDA(cudaStreamSynchronize(state->compute.raw));
  return STATUS_OK;
}

static bool is_taken(const device_t *device, const op_attention_t *op, int32_t head_most) {
  const sequences_t *all = op->sequences;
  return cuda_state(device)->cudnn && device->real_type == DTYPE_BF16 && all->count > 0 && all->longest > 0 &&
         all->head_size <= head_most && all->head_size % CUDNN_HEAD_UNIT == 0 && op->ldq % STRIDE_UNIT == 0 &&
         op->ldkv % STRIDE_UNIT == 0 && op->ldo % STRIDE_UNIT == 0 && is_packed(op->q) && is_packed(op->k) &&
         is_packed(op->v) && is_packed(op->out);
}

bool cudnn_takes(const device_t *device, const op_attention_t *op) {
  return is_taken(device, op, CUDNN_FORWARD_HEAD_MOST);
}

bool cudnn_takes_backward(const device_t *device, const op_attention_backward_t *op) {
  return is_taken(device, &op->forward, CUDNN_BACKWARD_HEAD_MOST) &&
         cuda_state(device)->cudnn->has_backward && is_packed(op->dout) && is_packed(op->dq) &&
         is_packed(op->dk) && is_packed(op->dv);
}

status_code_t attention_cudnn(device_t *device, const op_attention_t *op) {
  return run(device, op, shape_of(op, false), operands_of(op));
}

status_code_t attention_backward_cudnn(device_t *device, const op_attention_backward_t *op) {
  cudnn_operands_t operands = operands_of(&op->forward);
  operands.at[CUDNN_DOUT] = given(op->dout);
  operands.at[CUDNN_DQ] = op->dq;
  operands.at[CUDNN_DK] = op->dk;
  operands.at[CUDNN_DV] = op->dv;
  return run(device, &op->forward, shape_of(&op->forward, true), operands);
}
