#include "rollout/schedule.h"

#include <string.h>

/* ---- Pages ---- */

static int32_t page_take(schedule_t *schedule) {
  int32_t page = schedule->free_pages[--schedule->free_count];
  schedule->holders[page] = 1;
  return page;
}

static void page_give(schedule_t *schedule, int32_t page) {
  if (--schedule->holders[page] == 0) schedule->free_pages[schedule->free_count++] = page;
}

/* COUNT more pages for PLACE. */
static void place_take(schedule_t *schedule, place_t *place, int32_t count) {
  for (int32_t i = 0; i < count; i++)
    place->pages[place->page_count++] = page_take(schedule);
  if (count > 0) schedule->table_changed = true;
}

static void place_give(schedule_t *schedule, place_t *place) {
  for (int32_t i = 0; i < place->page_count; i++)
    page_give(schedule, place->pages[i]);
  place->page_count = 0;
}

/* COUNT pages can be had, and a reserve of one for each sequence that runs. */
static bool pages_suffice(const schedule_t *schedule, int32_t count) {
  return count + schedule->running <= schedule->free_count;
}

/* ---- Life ---- */

static status_t schedule_allocate(schedule_t *schedule) {
  memory_pool_t *pool = &schedule->pool;
  size_t slots = (size_t)schedule->options.slots, pages = (size_t)schedule->options.pages;
  size_t entries = slots * (size_t)schedule->options.max_pages;
  TRY(memory_pool_alloc(pool, &schedule->places, slots, sizeof *schedule->places));
  TRY(memory_pool_alloc(pool, &schedule->table, entries, sizeof *schedule->table));
  TRY(memory_pool_alloc(pool, &schedule->copy_from, slots, sizeof *schedule->copy_from));
  TRY(memory_pool_alloc(pool, &schedule->copy_to, slots, sizeof *schedule->copy_to));
  TRY(memory_pool_alloc(pool, &schedule->free_pages, pages, sizeof *schedule->free_pages));
  TRY(memory_pool_alloc(pool, &schedule->holders, pages, sizeof *schedule->holders));
  for (int32_t s = 0; s < schedule->options.slots; s++)
    schedule->places[s].pages = schedule->table + (size_t)s * (size_t)schedule->options.max_pages;
  return STATUS_OK;
}

status_t schedule_create(const schedule_options_t *options, schedule_t *out) {
  *out = (schedule_t){.options = *options, .pool.arena = ARENA_OTHER};
  if (options->pages < options->max_pages)
    return error_set(STATUS_INTERNAL, "a cache of %d pages cannot hold a sequence of %d", options->pages,
                     options->max_pages);
  status_code_t status = schedule_allocate(out);
  if (status != STATUS_OK) {
    schedule_free(out);
    return status;
  }
  schedule_reset(out);
  return STATUS_OK;
}

void schedule_free(schedule_t *schedule) {
  memory_pool_free(&schedule->pool);
  *schedule = (schedule_t){0};
}

void schedule_reset(schedule_t *schedule) {
  int32_t pages = schedule->options.pages;
  for (int32_t s = 0; s < schedule->options.slots; s++) {
    schedule->places[s].state = SEQUENCE_NONE;
    schedule->places[s].page_count = 0;
  }
  for (int32_t p = 0; p < pages; p++) {
    schedule->free_pages[p] = pages - 1 - p;
    schedule->holders[p] = 0;
  }
  schedule->free_count = pages;
  schedule->running = schedule->preempted = schedule->copies = 0;
  schedule->admitted = 0;
  schedule->table_changed = schedule->places_changed = true;
}

/* ---- Admission ---- */

/* The oldest sequence of QUESTION that runs: all of its prompt but the last position is in the cache, or will
 * be before pages are copied; NULL where none runs. */
static const place_t *schedule_like(const schedule_t *schedule, int64_t question) {
  const place_t *oldest = NULL;
  for (int32_t s = 0; s < schedule->options.slots; s++) {
    const place_t *place = &schedule->places[s];
    if (place->state != SEQUENCE_RUNS || place->question != question) continue;
    if (!oldest || place->age < oldest->age) oldest = place;
  }
  return oldest;
}

static int32_t free_place(const schedule_t *schedule) {
  for (int32_t s = 0; s < schedule->options.slots; s++)
    if (schedule->places[s].state == SEQUENCE_NONE) return s;
  return -1;
}

/* Holds the pages of LIKE in front of the one with PLACE's last position, and a copy of that. */
static void place_share(schedule_t *schedule, place_t *place, const place_t *like) {
  int32_t size = schedule->options.page_size, shared = place->position / size;
  for (int32_t i = 0; i < shared; i++) {
    place->pages[place->page_count++] = like->pages[i];
    schedule->holders[like->pages[i]]++;
  }
  place_take(schedule, place, 1);
  if (place->position % size == 0) return;
  schedule->copy_from[schedule->copies] = like->pages[shared];
  schedule->copy_to[schedule->copies++] = place->pages[shared];
}

static void place_run(schedule_t *schedule, place_t *place) {
  place->state = SEQUENCE_RUNS;
  schedule->running++;
  schedule->places_changed = true;
}

bool schedule_admit(schedule_t *schedule, int64_t item, int64_t question, int32_t prompt, bool shares,
                    int32_t *out) {
  const place_t *like = shares ? schedule_like(schedule, question) : NULL;
  int32_t pages = (prompt - 1) / schedule->options.page_size + 1, s = free_place(schedule);
  *out = -1;
  if (s < 0 || schedule->preempted > 0 || !pages_suffice(schedule, like ? 1 : pages)) return false;
  place_t *place = &schedule->places[s];
  place->item = item;
  place->question = question;
  place->age = schedule->admitted++;
  place->prompt = prompt;
  place->position = prompt - 1;
  if (like)
    place_share(schedule, place, like);
  else
    place_take(schedule, place, pages);
  place_run(schedule, place);
  *out = s;
  return like != NULL;
}

int32_t schedule_waiting(const schedule_t *schedule) {
  int32_t oldest = -1;
  for (int32_t s = 0; s < schedule->options.slots && schedule->preempted > 0; s++) {
    const place_t *place = &schedule->places[s];
    if (place->state != SEQUENCE_PREEMPTED) continue;
    if (oldest < 0 || place->age < schedule->places[oldest].age) oldest = s;
  }
  return oldest;
}

bool schedule_resume(schedule_t *schedule, int32_t s) {
  place_t *place = &schedule->places[s];
  int32_t pages = place->position / schedule->options.page_size + 1;
  if (!pages_suffice(schedule, pages)) return false;
  place_take(schedule, place, pages);
  place_run(schedule, place);
  schedule->preempted--;
  return true;
}

/* ---- Steps ---- */

static bool place_lacks(const schedule_t *schedule, const place_t *place) {
  return place->state == SEQUENCE_RUNS && place->position / schedule->options.page_size >= place->page_count;
}

/* Those that will need a page within a page's length get it now where there are plenty, so that the table
 * changes once for all. */
static void schedule_grow_ahead(schedule_t *schedule) {
  int32_t size = schedule->options.page_size;
  for (int32_t s = 0; s < schedule->options.slots; s++) {
    place_t *place = &schedule->places[s];
    if (place->state != SEQUENCE_RUNS) continue;
    int32_t last = place->prompt + schedule->options.max_tokens - 2; /* position that goes in */
    bool soon = (place->position + size) / size >= place->page_count;
    if (soon && place->page_count * size <= last && pages_suffice(schedule, 1))
      place_take(schedule, place, 1);
  }
}

bool schedule_grow(schedule_t *schedule) {
  bool grown = false;
  for (int32_t s = 0; s < schedule->options.slots; s++) {
    if (!place_lacks(schedule, &schedule->places[s])) continue;
    if (schedule->free_count == 0) return false;
    place_take(schedule, &schedule->places[s], 1);
    grown = true;
  }
  if (grown) schedule_grow_ahead(schedule);
  return true;
}

int32_t schedule_preempt(schedule_t *schedule) {
  int32_t youngest = -1;
  if (schedule->running < 2) return -1;
  for (int32_t s = 0; s < schedule->options.slots; s++) {
    const place_t *place = &schedule->places[s];
    if (place->state != SEQUENCE_RUNS) continue;
    if (youngest < 0 || place->age > schedule->places[youngest].age) youngest = s;
  }
  place_give(schedule, &schedule->places[youngest]);
  schedule->places[youngest].state = SEQUENCE_PREEMPTED;
  schedule->running--;
  schedule->preempted++;
  schedule->places_changed = true;
  return youngest;
}

void schedule_advance(schedule_t *schedule) {
  for (int32_t s = 0; s < schedule->options.slots; s++)
    if (schedule->places[s].state == SEQUENCE_RUNS) schedule->places[s].position++;
}

void schedule_finish(schedule_t *schedule, int32_t s) {
  place_t *place = &schedule->places[s];
  place_give(schedule, place);
  if (place->state == SEQUENCE_RUNS) schedule->running--;
  if (place->state == SEQUENCE_PREEMPTED) schedule->preempted--;
  place->state = SEQUENCE_NONE;
  schedule->places_changed = true;
}
