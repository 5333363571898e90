#include "session/batch_work.h"

#include "session/voting.h"

/* ---- What is there ---- */

/* Gives each group those of its samples that are kept; THERE (plan.n): 1 for them. */
static status_t take_all(const batch_work_t *work, const batch_t *batch, kept_loaded_t *loaded) {
  exchange_t received;
  status_code_t status = STATUS_OK;
  TRY(kept_deal(loaded, batch->plan.group, &received));
  for (int64_t k = 0; k < received.count && status == STATUS_OK; k++) {
    const exchange_received_t *item = &received.items[k];
    status = work->take(work->context, (int32_t)item->id, item->bytes, item->size);
  }
  exchange_free(&received);
  return status;
}

static status_t batch_take_kept(const session_t *session, const batch_work_t *work, const batch_t *batch,
                                kept_loaded_t *loaded) {
  SCOPED_MEMORY int64_t *keys = NULL;
  size_t n = (size_t)batch->plan.n;
  TRY(comm_agree(session->world, memory_alloc(&keys, ARENA_DATA, n, sizeof *keys)));
  for (int32_t i = 0; i < batch->plan.n; i++)
    keys[i] = work->first_key + i * work->key_step;
  TRY(kept_load(work->kept, keys, batch->plan.n, loaded));
  return comm_agree(session->world, take_all(work, batch, loaded));
}

/* ---- The micro-batches ---- */

static bool micro_is_there(const batch_t *batch, const micro_t *micro, const int32_t *there) {
  for (int32_t s = 0; s < micro->count; s++)
    if (!there[micro->which[s]] && batch->plan.lengths[micro->which[s]] > 0) return false;
  return true;
}

static void micro_keep(const batch_work_t *work, const batch_t *batch, const micro_t *micro,
                       const int32_t *there) {
  for (int32_t s = 0; s < micro->count; s++) {
    int32_t i = micro->which[s];
    size_t n;
    if (batch->broken[i] || batch->plan.lengths[i] == 0 || (there && there[i])) continue;
    const void *value = work->value(work->context, i, &n);
    kept_append(work->kept, work->first_key + i * work->key_step, value, n);
  }
}

static status_t micro_work(const batch_work_t *work, batch_t *batch, int32_t index, const int32_t *there) {
  const micro_t *micro = &batch->micro[index];
  if (there && micro_is_there(batch, micro, there)) return STATUS_OK;
  TRY(work->work(work->context, batch, index));
  micro_keep(work, batch, micro, there);
  return STATUS_OK;
}

static status_t work_all(const batch_work_t *work, batch_t *batch, const int32_t *there, stop_vote_t *vote) {
  bool stop = false;
  for (int32_t m = 0; m < batch->plan.micro_count; m++) {
    TRY(stop_vote_poll(vote, &stop));
    if (stop) return STATUS_STOPPED;
    TRY(micro_work(work, batch, m, there));
  }
  TRY(stop_vote_finish(vote, &stop));
  return stop ? STATUS_STOPPED : STATUS_OK;
}

status_t batch_work(session_t *session, batch_t *batch, const batch_work_t *work) {
  SCOPED(kept_loaded_free) kept_loaded_t loaded = {0};
  stop_vote_t *vote;
  if (kept_found(work->kept) > 0) TRY(batch_take_kept(session, work, batch, &loaded));
  for (int32_t m = 0; m < batch->plan.micro_count && loaded.there; m++)
    if (micro_is_there(batch, &batch->micro[m], loaded.there)) batch_pass_over(batch, m);
  TRY(stop_vote_start(&session->grid, 1, session_vote_request, session, &vote));
  status_code_t status = work_all(work, batch, loaded.there, vote);
  stop_vote_free(vote);
  if (status == STATUS_STOPPED) TRY(session_stopped(session, NULL));
  return status;
}
