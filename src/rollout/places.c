#include "rollout/places.h"

#include <string.h>

/* ---- Pages ---- */

static int32_t page_take(places_t *all) {
  int32_t page = all->free_pages[--all->free_count];
  all->holders[page] = 1;
  return page;
}

static void page_give(places_t *all, int32_t page) {
  if (--all->holders[page] == 0) all->free_pages[all->free_count++] = page;
}

/* COUNT more pages for PLACE. */
static void place_take(places_t *all, place_t *place, int32_t count) {
  for (int32_t i = 0; i < count; i++)
    place->pages[place->page_count++] = page_take(all);
  if (count > 0) all->table_changed = true;
}

static void place_give(places_t *all, place_t *place) {
  for (int32_t i = 0; i < place->page_count; i++)
    page_give(all, place->pages[i]);
  place->page_count = 0;
}

/* Whether PLACE runs and may need more pages than it has. */
static bool place_grows(const places_t *all, const place_t *place) {
  int32_t last = place->prompt + all->options.max_tokens - 2; /* position that goes in */
  return place->state == SEQUENCE_RUNS && place->page_count * all->options.page_size <= last;
}

/* COUNT pages can be had, and a reserve of one for each sequence that may need one: so a cache of the worst
 * case holds nobody back. */
static bool pages_suffice(const places_t *all, int32_t count) {
  for (int32_t s = 0; s < all->options.slots; s++)
    count += place_grows(all, &all->places[s]);
  return count <= all->free_count;
}

/* ---- Life ---- */

static status_t places_allocate(places_t *all) {
  memory_pool_t *pool = &all->pool;
  size_t slots = (size_t)all->options.slots, pages = (size_t)all->options.pages;
  size_t entries = slots * (size_t)all->options.max_pages;
  TRY(memory_pool_alloc(pool, &all->places, slots, sizeof *all->places));
  TRY(memory_pool_alloc(pool, &all->table, entries, sizeof *all->table));
  TRY(memory_pool_alloc(pool, &all->copy_from, slots, sizeof *all->copy_from));
  TRY(memory_pool_alloc(pool, &all->copy_to, slots, sizeof *all->copy_to));
  TRY(memory_pool_alloc(pool, &all->free_pages, pages, sizeof *all->free_pages));
  TRY(memory_pool_alloc(pool, &all->holders, pages, sizeof *all->holders));
  for (int32_t s = 0; s < all->options.slots; s++)
    all->places[s].pages = all->table + (size_t)s * (size_t)all->options.max_pages;
  return STATUS_OK;
}

status_t places_create(const places_options_t *options, places_t *out) {
  *out = (places_t){.options = *options, .pool.arena = ARENA_OTHER};
  if (options->pages < options->max_pages)
    return error_set(STATUS_INTERNAL, "a cache of %d pages cannot hold a sequence of %d", options->pages,
                     options->max_pages);
  status_code_t status = places_allocate(out);
  if (status != STATUS_OK) {
    places_free(out);
    return status;
  }
  places_reset(out);
  return STATUS_OK;
}

void places_free(places_t *all) {
  memory_pool_free(&all->pool);
  *all = (places_t){0};
}

void places_reset(places_t *all) {
  int32_t pages = all->options.pages;
  for (int32_t s = 0; s < all->options.slots; s++) {
    all->places[s].state = SEQUENCE_NONE;
    all->places[s].page_count = 0;
  }
  for (int32_t p = 0; p < pages; p++) {
    all->free_pages[p] = pages - 1 - p;
    all->holders[p] = 0;
  }
  all->free_count = pages;
  all->running = all->preempted = all->ended = all->copies = 0;
  all->admitted = 0;
  all->table_changed = all->places_changed = true;
}

/* ---- Admission ---- */

/* The oldest sequence of QUESTION that runs: all of its prompt but the last position is in the cache, or will
 * be before pages are copied; NULL where none runs. */
static const place_t *places_like(const places_t *all, int64_t question) {
  const place_t *oldest = NULL;
  for (int32_t s = 0; s < all->options.slots; s++) {
    const place_t *place = &all->places[s];
    if (place->state != SEQUENCE_RUNS || place->question != question) continue;
    if (!oldest || place->age < oldest->age) oldest = place;
  }
  return oldest;
}

static int32_t free_place(const places_t *all) {
  for (int32_t s = 0; s < all->options.slots; s++)
    if (all->places[s].state == SEQUENCE_NONE) return s;
  return -1;
}

/* Holds the pages of LIKE in front of the one with PLACE's last position, and a copy of that. */
static void place_share(places_t *all, place_t *place, const place_t *like) {
  int32_t size = all->options.page_size, shared = place->position / size;
  for (int32_t i = 0; i < shared; i++) {
    place->pages[place->page_count++] = like->pages[i];
    all->holders[like->pages[i]]++;
  }
  place_take(all, place, 1);
  if (place->position % size == 0) return;
  all->copy_from[all->copies] = like->pages[shared];
  all->copy_to[all->copies++] = place->pages[shared];
}

static void place_run(places_t *all, place_t *place) {
  place->state = SEQUENCE_RUNS;
  all->running++;
  all->places_changed = true;
}

bool places_admit(places_t *all, int64_t item, int64_t question, int32_t prompt, bool shares, int32_t *out) {
  const place_t *like = shares ? places_like(all, question) : NULL;
  int32_t pages = (prompt - 1) / all->options.page_size + 1, s = free_place(all);
  *out = -1;
  if (s < 0 || all->preempted > 0 || !pages_suffice(all, like ? 1 : pages)) return false;
  place_t *place = &all->places[s];
  place->item = item;
  place->question = question;
  place->age = all->admitted++;
  place->prompt = prompt;
  place->position = prompt - 1;
  if (like)
    place_share(all, place, like);
  else
    place_take(all, place, pages);
  place_run(all, place);
  *out = s;
  return like != NULL;
}

int32_t places_waiting(const places_t *all) {
  int32_t oldest = -1;
  for (int32_t s = 0; s < all->options.slots && all->preempted > 0; s++) {
    const place_t *place = &all->places[s];
    if (place->state != SEQUENCE_PREEMPTED) continue;
    if (oldest < 0 || place->age < all->places[oldest].age) oldest = s;
  }
  return oldest;
}

bool places_resume(places_t *all, int32_t s) {
  place_t *place = &all->places[s];
  int32_t pages = place->position / all->options.page_size + 1;
  if (!pages_suffice(all, pages)) return false;
  place_take(all, place, pages);
  place_run(all, place);
  all->preempted--;
  return true;
}

/* ---- Steps ---- */

static bool place_lacks(const places_t *all, const place_t *place) {
  return place->state == SEQUENCE_RUNS && place->position / all->options.page_size >= place->page_count;
}

/* Those that will need a page within a page's length get it now where there are plenty, so that the table
 * changes once for all. */
static void places_grow_ahead(places_t *all) {
  int32_t size = all->options.page_size;
  for (int32_t s = 0; s < all->options.slots; s++) {
    place_t *place = &all->places[s];
    bool soon = (place->position + size) / size >= place->page_count;
    if (place_grows(all, place) && soon && pages_suffice(all, 1)) place_take(all, place, 1);
  }
}

bool places_grow(places_t *all) {
  bool grown = false;
  for (int32_t s = 0; s < all->options.slots; s++) {
    if (!place_lacks(all, &all->places[s])) continue;
    if (all->free_count == 0) return false;
    place_take(all, &all->places[s], 1);
    grown = true;
  }
  if (grown) places_grow_ahead(all);
  return true;
}

/* PLACE goes on to STATE, without pages. */
static void place_leave(places_t *all, place_t *place, sequence_state_t state) {
  place_give(all, place);
  all->running -= place->state == SEQUENCE_RUNS;
  all->preempted -= place->state == SEQUENCE_PREEMPTED;
  all->ended -= place->state == SEQUENCE_ENDED;
  all->preempted += state == SEQUENCE_PREEMPTED;
  all->ended += state == SEQUENCE_ENDED;
  all->places_changed = all->places_changed || place->state == SEQUENCE_RUNS;
  place->state = state;
}

int32_t places_preempt(places_t *all) {
  int32_t youngest = -1;
  if (all->running < 2) return -1;
  for (int32_t s = 0; s < all->options.slots; s++) {
    const place_t *place = &all->places[s];
    if (place->state != SEQUENCE_RUNS) continue;
    if (youngest < 0 || place->age > all->places[youngest].age) youngest = s;
  }
  place_leave(all, &all->places[youngest], SEQUENCE_PREEMPTED);
  return youngest;
}

void places_advance(places_t *all) {
  for (int32_t s = 0; s < all->options.slots; s++)
    if (all->places[s].state == SEQUENCE_RUNS) all->places[s].position++;
}

void places_end(places_t *all, int32_t s, int32_t tokens) {
  place_t *place = &all->places[s];
  place->position = place->prompt - 1 + tokens;
  place_leave(all, place, SEQUENCE_ENDED);
}

void places_finish(places_t *all, int32_t s) {
  place_leave(all, &all->places[s], SEQUENCE_NONE);
}
