/* Places and pages without a model: what is admitted, grown, preempted, shared and given back. */
#include "rollout/places.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"

enum { SIZE = 4, PLACES_MAX = 6 };

static places_t make(int32_t slots, int32_t pages, int32_t max_tokens) {
  const places_options_t options = {
      .slots = slots, .pages = pages, .page_size = SIZE, .max_pages = 5, .max_tokens = max_tokens};
  places_t all;
  assert_int_equal(places_create(&options, &all), STATUS_OK);
  return all;
}

static int32_t admit(places_t *all, int64_t item, int32_t prompt) {
  int32_t place;
  assert_false(places_admit(all, item, item, prompt, true, &place));
  return place;
}

/* Each page is free or held as often as sequences have it, and no page that one writes is another's. */
static void check_pages(const places_t *all) {
  int32_t holders[64] = {0}, used = 0;
  for (int32_t s = 0; s < all->options.slots; s++) {
    const place_t *place = &all->places[s];
    if (place->state != SEQUENCE_RUNS) assert_int_equal(place->page_count, 0);
    for (int32_t p = 0; p < place->page_count; p++) {
      used += holders[place->pages[p]]++ == 0;
      if (p >= (place->prompt - 1) / SIZE) assert_int_equal(all->holders[place->pages[p]], 1);
    }
  }
  for (int32_t p = 0; p < all->options.pages; p++)
    assert_int_equal(holders[p], all->holders[p]);
  assert_int_equal(used + all->free_count, all->options.pages);
}

/* The prompt's pages and one for each that runs, not the worst case. */
static void admission_is_by_need(void **state) {
  (void)state;
  places_t all = make(6, 8, 12);
  assert_int_equal(admit(&all, 0, 8), 0);  /* two pages */
  assert_int_equal(admit(&all, 1, 5), 1);  /* two, and one in reserve */
  assert_int_equal(admit(&all, 2, 9), -1); /* three, and two in reserve: four are free */
  assert_int_equal(admit(&all, 3, 4), 2);
  assert_int_equal(admit(&all, 4, 1), -1); /* one, and three in reserve */
  places_finish(&all, 0);
  assert_int_equal(admit(&all, 4, 1), 0);
  check_pages(&all);
  places_free(&all);
}

/* A page when the one before is full; the youngest gives way, and comes back with all that it had. */
static void the_youngest_gives_way(void **state) {
  (void)state;
  places_t all = make(2, 5, 12);
  assert_int_equal(admit(&all, 0, 4), 0);
  assert_int_equal(admit(&all, 1, 4), 1);
  for (int32_t token = 1; token <= 4; token++) {
    assert_true(places_grow(&all));
    places_advance(&all);
  }
  assert_int_equal(place_tokens(&all.places[1]), 4);
  assert_int_equal(all.free_count, 1);
  places_advance(&all);
  assert_false(places_grow(&all));
  assert_int_equal(places_preempt(&all), 1);
  assert_true(places_grow(&all));
  check_pages(&all);
  assert_int_equal(admit(&all, 2, 1), -1); /* before one that waits */
  assert_int_equal(places_waiting(&all), 1);
  assert_false(places_resume(&all, 1)); /* three pages and one in reserve */
  assert_int_equal(places_preempt(&all), -1);
  places_finish(&all, 0);
  assert_true(places_resume(&all, 1));
  assert_int_equal(all.places[1].page_count, 3);
  assert_int_equal(all.places[1].item, 1);
  assert_int_equal(place_tokens(&all.places[1]), 5);
  assert_int_equal(places_waiting(&all), -1);
  check_pages(&all);
  places_free(&all);
}

/* One that has ended keeps its place but no pages, and has the tokens it ended with, not those it was
 * advanced by since; also where it had to give way meanwhile. */
static void an_end_may_be_late(void **state) {
  (void)state;
  places_t all = make(3, 8, 12);
  assert_int_equal(admit(&all, 0, 4), 0);
  assert_int_equal(admit(&all, 1, 4), 1);
  for (int32_t token = 1; token <= 3; token++) {
    assert_true(places_grow(&all));
    places_advance(&all);
  }
  all.places_changed = false;
  places_end(&all, 0, 2);
  assert_true(all.places_changed);
  assert_int_equal(place_tokens(&all.places[0]), 2);
  assert_int_equal(all.free_count, 8 - all.places[1].page_count);
  assert_int_equal(all.running, 1);
  assert_int_equal(all.ended, 1);
  assert_int_equal(admit(&all, 2, 4), 2);
  assert_int_equal(admit(&all, 3, 4), -1); /* its place is still taken */
  assert_int_equal(places_preempt(&all), 2);
  places_end(&all, 2, 1);
  assert_int_equal(all.preempted, 0);
  assert_int_equal(all.ended, 2);
  places_finish(&all, 0);
  places_finish(&all, 2);
  assert_int_equal(all.ended, 0);
  assert_int_equal(admit(&all, 3, 4), 0);
  check_pages(&all);
  places_free(&all);
}

/* Full pages are held twice, the partly filled one is copied, and they outlive who came first. */
static void prompts_are_shared(void **state) {
  (void)state;
  places_t all = make(4, 20, 12);
  int32_t s;
  assert_false(places_admit(&all, 0, 7, 11, true, &s));
  assert_int_equal(s, 0);
  assert_true(places_admit(&all, 1, 7, 11, true, &s));
  assert_int_equal(s, 1);
  assert_false(places_admit(&all, 2, 8, 11, true, &s));
  assert_false(places_admit(&all, 3, 7, 11, false, &s));
  const place_t *first = &all.places[0], *second = &all.places[1];
  assert_int_equal(second->page_count, 3);
  assert_int_equal(second->position, 10);
  assert_int_equal(second->pages[0], first->pages[0]);
  assert_int_equal(second->pages[1], first->pages[1]);
  assert_int_not_equal(second->pages[2], first->pages[2]);
  assert_int_equal(all.copies, 1);
  assert_int_equal(all.copy_from[0], first->pages[2]);
  assert_int_equal(all.copy_to[0], second->pages[2]);
  check_pages(&all);
  places_finish(&all, 0);
  assert_int_equal(all.holders[second->pages[0]], 1);
  check_pages(&all);
  places_free(&all);
}

/* A last position that begins a page needs no copy; that of the first page shares nothing. */
static void shares_that_need_no_copy(void **state) {
  (void)state;
  places_t all = make(4, 20, 12);
  int32_t s;
  admit(&all, 0, 9);
  assert_true(places_admit(&all, 1, 0, 9, true, &s));
  assert_int_equal(all.copies, 0);
  assert_int_equal(all.places[s].page_count, 3);
  admit(&all, 5, 1);
  assert_true(places_admit(&all, 6, 5, 1, true, &s));
  assert_int_equal(all.copies, 0);
  assert_int_equal(all.places[s].page_count, 1);
  check_pages(&all);
  places_free(&all);
}

/* Whatever comes, everybody is served, nobody outgrows max_pages, and no page is lost. */
static void all_are_served(void **state) {
  enum { ITEMS = 200, MAX_TOKENS = 9 };
  (void)state;
  places_t all = make(PLACES_MAX, 9, MAX_TOKENS);
  random_stream_t random = random_stream(3, RANDOM_TEST, 0);
  int64_t next = 0, preemptions = 0, shares = 0;
  int32_t served = 0, s;
  while (served < ITEMS) {
    while ((s = places_waiting(&all)) >= 0 && places_resume(&all, s))
      ;
    while (next < ITEMS) {
      shares += places_admit(&all, next, next / 2, 1 + (int32_t)(next / 2 * 5 % 11), true, &s);
      if (s < 0) break;
      next++;
    }
    all.copies = 0;
    assert_true(all.running > 0);
    for (; !places_grow(&all); preemptions++)
      assert_true(places_preempt(&all) >= 0);
    check_pages(&all);
    places_advance(&all);
    for (s = 0; s < PLACES_MAX; s++) {
      const place_t *place = &all.places[s];
      if (place->state != SEQUENCE_RUNS) continue;
      assert_true(place->page_count <= 5);
      if (place_tokens(place) < MAX_TOKENS && random_below(&random, 12) > 0) continue;
      places_finish(&all, s);
      served++;
    }
  }
  assert_true(preemptions > 10 && shares > 10);
  assert_int_equal(all.free_count, 9);
  places_free(&all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(admission_is_by_need),     cmocka_unit_test(the_youngest_gives_way),
      cmocka_unit_test(an_end_may_be_late),       cmocka_unit_test(prompts_are_shared),
      cmocka_unit_test(shares_that_need_no_copy), cmocka_unit_test(all_are_served),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
