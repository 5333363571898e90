#include "session/plan.h"

#include "base/memory.h"
#include "parallel/exchange.h"

#include <string.h>

static status_t plan_allocate(plan_t *plan) {
  size_t n = (size_t)plan->n;
  TRY(memory_alloc(&plan->lengths, ARENA_DATA, n, sizeof *plan->lengths));
  TRY(memory_alloc(&plan->learnt, ARENA_DATA, n, sizeof *plan->learnt));
  TRY(memory_alloc(&plan->group, ARENA_DATA, n, sizeof *plan->group));
  TRY(memory_alloc(&plan->micro, ARENA_DATA, n, sizeof *plan->micro));
  TRY(memory_alloc(&plan->sequences, ARENA_DATA, n, sizeof *plan->sequences));
  TRY(memory_alloc(&plan->images, ARENA_DATA, n, sizeof *plan->images));
  for (size_t i = 0; i < n; i++) {
    plan->images[i] = -1;
    plan->micro[i] = -1;
  }
  return STATUS_OK;
}

void plan_free(plan_t *plan) {
  for (int32_t i = 0; i < plan->n && plan->sequences; i++)
    sequence_free(&plan->sequences[i]);
  void *all[] = {plan->lengths, plan->learnt,    plan->group, plan->mine,
                 plan->micro,   plan->sequences, plan->images};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    memory_free(all[i]);
  *plan = (plan_t){0};
}

static status_t plan_build_one(plan_t *plan, plan_build_t build, void *context, int32_t i) {
  TRY(build(context, i, &plan->sequences[i], &plan->images[i]));
  const sequence_t *sequence = &plan->sequences[i];
  plan->lengths[i] = packed_length(sequence->tokens, sequence->n, plan->slots);
  plan->learnt[i] = sequence_learnt(sequence);
  return STATUS_OK;
}

/* Each rank builds every size-th sequence; lengths and counts are then known to all. */
static status_t plan_measure(const grid_t *grid, plan_t *plan, plan_build_t build, void *context) {
  status_code_t status = STATUS_OK;
  for (int32_t i = grid->rank; i < plan->n && status == STATUS_OK; i += grid->size)
    status = plan_build_one(plan, build, context, i);
  TRY(comm_agree(grid->world, status));
  TRY(comm_allreduce(grid->world, plan->lengths, (size_t)plan->n, COMM_I32, COMM_SUM));
  return comm_allreduce(grid->world, plan->learnt, (size_t)plan->n, COMM_I32, COMM_SUM);
}

/* Units to groups, by their total length. */
static status_t plan_deal(const grid_t *grid, plan_t *plan) {
  int32_t units = plan->n / plan->unit;
  SCOPED_MEMORY int32_t *lengths = NULL;
  TRY(memory_alloc(&lengths, ARENA_DATA, 2 * (size_t)units, sizeof *lengths));
  int32_t *group = lengths + units;
  for (int32_t i = 0; i < plan->n; i++)
    lengths[i / plan->unit] += plan->lengths[i];
  TRY(deal_by_length(lengths, units, grid->dp_size, group));
  for (int32_t i = 0; i < plan->n; i++) {
    plan->group[i] = group[i / plan->unit];
    plan->mine_count += plan->group[i] == grid->dp_rank;
  }
  return STATUS_OK;
}

static status_t plan_list(const grid_t *grid, plan_t *plan) {
  int32_t k = 0;
  TRY(memory_alloc(&plan->mine, ARENA_DATA, (size_t)plan->mine_count, sizeof *plan->mine));
  for (int32_t i = 0; i < plan->n; i++)
    if (plan->group[i] == grid->dp_rank) plan->mine[k++] = i;
  return STATUS_OK;
}

static status_t plan_cut(plan_t *plan, int64_t micro_tokens) {
  SCOPED_MEMORY int64_t *mine = NULL;
  size_t count = (size_t)plan->mine_count;
  TRY(memory_alloc(&mine, ARENA_DATA, count, sizeof *mine + sizeof(int32_t)));
  int32_t *micro = (int32_t *)(mine + count);
  for (size_t k = 0; k < count; k++)
    mine[k] = plan->mine[k];
  TRY(deal_micro_batches(plan->lengths, mine, (int64_t)count, plan->unit, micro_tokens, micro,
                         &plan->micro_count));
  for (size_t k = 0; k < count; k++)
    plan->micro[mine[k]] = micro[k];
  return STATUS_OK;
}

static void plan_drop_one(plan_t *plan, int32_t i) {
  sequence_free(&plan->sequences[i]);
  plan->sequences[i] = (sequence_t){0};
  plan->images[i] = -1;
}

/* Builds what this group was dealt and has not built yet, all of it where something was BROUGHT since, and
 * drops the rest. */
static status_t plan_settle(const grid_t *grid, plan_t *plan, plan_build_t build, bool brought,
                            void *context) {
  for (int32_t i = 0; i < plan->n; i++) {
    bool mine = plan->group[i] == grid->dp_rank, built = i % grid->size == grid->rank;
    if (built && (brought || !mine)) plan_drop_one(plan, i);
    if (mine && (brought || !built)) TRY(plan_build_one(plan, build, context, i));
  }
  return STATUS_OK;
}

status_t plan_create_bringing(const grid_t *grid, int32_t n, int32_t unit, int32_t slots,
                              int64_t micro_tokens, plan_build_t build, plan_bring_t bring, void *context,
                              plan_t *out) {
  SCOPED(plan_free) plan_t plan = {.n = n, .unit = unit, .slots = slots};
  *out = (plan_t){0};
  TRY(plan_allocate(&plan));
  TRY(plan_measure(grid, &plan, build, context));
  TRY(plan_deal(grid, &plan));
  TRY(plan_list(grid, &plan));
  TRY(plan_cut(&plan, micro_tokens));
  status_code_t status = bring ? bring(context, plan.group) : STATUS_OK;
  if (status == STATUS_OK) status = plan_settle(grid, &plan, build, bring != NULL, context);
  TRY(comm_agree(grid->world, status));
  *out = plan;
  plan = (plan_t){0};
  return STATUS_OK;
}

status_t plan_create(const grid_t *grid, int32_t n, int32_t unit, int32_t slots, int64_t micro_tokens,
                     plan_build_t build, void *context, plan_t *out) {
  return plan_create_bringing(grid, n, unit, slots, micro_tokens, build, NULL, context, out);
}

status_t plan_recut(int32_t slots, int64_t micro_tokens, plan_t *plan) {
  if (slots == plan->slots) return STATUS_OK;
  plan->slots = slots;
  for (int32_t k = 0; k < plan->mine_count; k++) {
    const sequence_t *sequence = &plan->sequences[plan->mine[k]];
    plan->lengths[plan->mine[k]] = packed_length(sequence->tokens, sequence->n, slots);
  }
  return plan_cut(plan, micro_tokens);
}

status_t plan_longest(const plan_t *plan, int64_t *positions) {
  SCOPED_MEMORY int64_t *lengths = NULL;
  *positions = 0;
  TRY(memory_alloc(&lengths, ARENA_DATA, (size_t)plan->micro_count, sizeof *lengths));
  for (int32_t k = 0; k < plan->mine_count; k++)
    lengths[plan->micro[plan->mine[k]]] += plan->lengths[plan->mine[k]];
  for (int32_t m = 0; m < plan->micro_count; m++)
    if (lengths[m] > *positions) *positions = lengths[m];
  return STATUS_OK;
}

/* Appends IMAGE to a list unless it is there; returns its place. */
static int32_t plan_place_of(int64_t *images, int32_t *count, int64_t image) {
  for (int32_t i = 0; i < *count; i++)
    if (images[i] == image) return i;
  images[*count] = image;
  return (*count)++;
}

static status_t micro_fill(const plan_t *plan, int32_t index, micro_t *micro) {
  SCOPED_MEMORY packed_source_t *sources = NULL;
  size_t count = 0;
  for (int32_t k = 0; k < plan->mine_count; k++)
    count += plan->micro[plan->mine[k]] == index;
  TRY(memory_alloc(&micro->which, ARENA_DATA, count, sizeof *micro->which));
  TRY(memory_alloc(&micro->images, ARENA_DATA, count, sizeof *micro->images));
  TRY(memory_alloc(&sources, ARENA_DATA, count, sizeof *sources));
  for (int32_t k = 0; k < plan->mine_count; k++) {
    int32_t i = plan->mine[k];
    if (plan->micro[i] != index) continue;
    const sequence_t *sequence = &plan->sequences[i];
    int32_t place =
        plan->images[i] >= 0 ? plan_place_of(micro->images, &micro->image_count, plan->images[i]) : -1;
    sources[micro->count] =
        (packed_source_t){.tokens = sequence->tokens, .n = sequence->n, .image_index = place};
    micro->which[micro->count++] = i;
  }
  return packed_create(sources, micro->count, plan->slots, &micro->packed);
}

status_t micro_create(const plan_t *plan, int32_t index, micro_t *out) {
  *out = (micro_t){0};
  status_code_t status = micro_fill(plan, index, out);
  if (status != STATUS_OK) micro_free(out);
  return status;
}

void micro_free(micro_t *micro) {
  memory_free(micro->which);
  memory_free(micro->images);
  packed_free(&micro->packed);
  *micro = (micro_t){0};
}

status_t micro_targets(const plan_t *plan, const micro_t *micro, int32_t **rows, int32_t **targets,
                       int32_t **owner, int32_t *n) {
  int32_t total = 0;
  for (int32_t s = 0; s < micro->count; s++)
    total += plan->learnt[micro->which[s]];
  TRY(memory_alloc(rows, ARENA_DATA, 3 * (size_t)total + 1, sizeof **rows));
  *targets = *rows + total;
  *owner = *targets + total;
  *n = 0;
  for (int32_t s = 0; s < micro->count; s++) {
    const sequence_t *sequence = &plan->sequences[micro->which[s]];
    int32_t row = micro->packed.offsets[s];
    for (int32_t t = 0; t < sequence->n; t++) {
      /* The first position has nothing before it that could predict it. */
      if (sequence->learnt[t] && row > micro->packed.offsets[s]) {
        (*rows)[*n] = row - 1;
        (*targets)[*n] = sequence->tokens[t];
        (*owner)[(*n)++] = s;
      }
      row += sequence->tokens[t] == TOKEN_IMAGE ? plan->slots : 1;
    }
  }
  return STATUS_OK;
}
