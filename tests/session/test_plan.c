/* Micro-batches that are cut again for images of another size. */
#include "session/plan.h"

#include "mpi_test.h"
#include "parallel/grid.h"

#include <string.h>

enum { SEQUENCES = 11, SMALL = 4, LARGE = 9, MICRO_TOKENS = 40 };

/* Sequence I: 3 + 2 i tokens, of which one is an image place in each but every third. */
static int32_t tokens_of(int32_t i) {
  return 3 + 2 * i;
}

static bool shows_image(int32_t i) {
  return i % 3 != 0;
}

static status_t build(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  (void)context;
  for (int32_t t = 0; t < tokens_of(i); t++) {
    int32_t token = t == 1 && shows_image(i) ? TOKEN_IMAGE : t;
    TRY(sequence_append(sequence, &token, 1, t > 1));
  }
  *image = shows_image(i) ? i : -1;
  return STATUS_OK;
}

static int32_t positions_of(int32_t i, int32_t slots) {
  return tokens_of(i) + (shows_image(i) ? slots - 1 : 0);
}

/* Each of the group's sequences is packed once, and no micro-batch of more than one exceeds the limit.
 * Returns the sequences that are packed. */
static int32_t check_micro_batches(const plan_t *plan, int32_t slots) {
  int32_t seen[SEQUENCES] = {0}, count = 0;
  for (int32_t m = 0; m < plan->micro_count; m++) {
    micro_t micro;
    assert_ok(micro_create(plan, m, &micro));
    int32_t positions = 0;
    for (int32_t s = 0; s < micro.count; s++) {
      positions += positions_of(micro.which[s], slots);
      assert_int_equal(seen[micro.which[s]]++, 0);
      count++;
    }
    assert_int_equal(micro.packed.offsets[micro.count], positions);
    assert_true(positions <= MICRO_TOKENS || micro.count == 1);
    micro_free(&micro);
  }
  return count;
}

/* Positions of the largest micro-batch if images took SLOTS. */
static int32_t largest(const plan_t *plan, int32_t slots) {
  int32_t positions[SEQUENCES] = {0}, most = 0;
  for (int32_t i = 0; i < SEQUENCES; i++) {
    if (plan->micro[i] < 0) continue;
    positions[plan->micro[i]] += positions_of(i, slots);
    if (positions[plan->micro[i]] > most) most = positions[plan->micro[i]];
  }
  return most;
}

static void open_plan(grid_t *grid, plan_t *plan) {
  assert_ok(grid_create(mpi_test_world(), 1, 1, grid));
  assert_ok(plan_create(grid, SEQUENCES, 1, SMALL, MICRO_TOKENS, build, NULL, plan));
}

static void a_plan_is_cut_for_larger_images(void **state) {
  grid_t grid;
  plan_t plan;
  int32_t group[SEQUENCES];
  (void)state;
  open_plan(&grid, &plan);
  int32_t count = check_micro_batches(&plan, SMALL);
  if (grid.size == 1) assert_true(largest(&plan, LARGE) > MICRO_TOKENS);
  memcpy(group, plan.group, sizeof group);
  assert_ok(plan_recut(LARGE, MICRO_TOKENS, &plan));
  assert_int_equal(check_micro_batches(&plan, LARGE), count);
  assert_memory_equal(plan.group, group, sizeof group);
  plan_free(&plan);
  grid_free(&grid);
}

static void images_of_the_same_size_change_nothing(void **state) {
  grid_t grid;
  plan_t plan;
  int32_t micro[SEQUENCES];
  (void)state;
  open_plan(&grid, &plan);
  memcpy(micro, plan.micro, sizeof micro);
  assert_ok(plan_recut(SMALL, MICRO_TOKENS, &plan));
  assert_memory_equal(plan.micro, micro, sizeof micro);
  plan_free(&plan);
  grid_free(&grid);
}

/* Sequence I of many: 3 to 202 tokens. */
static status_t build_short(void *context, int32_t i, sequence_t *sequence, int64_t *image) {
  (void)context;
  *image = -1;
  for (int32_t t = 0; t < 3 + i % 200; t++)
    TRY(sequence_append(sequence, &t, 1, t > 1));
  return STATUS_OK;
}

/* What group GROUP of GROUPS makes of a batch: sequences of its own and no other, near the mean length. */
static void plan_of_group(int groups, int group) {
  int32_t n = 4 * groups, mine = 0;
  int64_t positions = 0, all = 0;
  grid_t grid;
  plan_t plan;
  assert_ok(grid_create(mpi_test_world(), 1, 1, &grid));
  grid_t like = grid;
  like.dp_size = groups;
  like.dp_rank = group;
  assert_ok(plan_create(&like, n, 1, SMALL, 400, build_short, NULL, &plan));
  for (int32_t i = 0; i < n; i++) {
    bool own = plan.group[i] == group;
    assert_in_range(plan.group[i], 0, groups - 1);
    assert_int_equal(plan.lengths[i], 3 + i % 200);
    assert_int_equal(plan.sequences[i].n, own ? plan.lengths[i] : 0);
    assert_true(own ? plan.micro[i] >= 0 && plan.micro[i] < plan.micro_count : plan.micro[i] == -1);
    mine += own;
    positions += own ? plan.lengths[i] : 0;
    all += plan.lengths[i];
  }
  assert_true(mine > 0 && (double)positions <= 1.05 * (double)all / groups);
  plan_free(&plan);
  grid_free(&grid);
}

static void a_thousand_groups_have_their_plans(void **state) {
  static const int sizes[] = {1000, 4096};
  (void)state;
  for (int s = 0; s < 2; s++) {
    plan_of_group(sizes[s], 0);
    plan_of_group(sizes[s], sizes[s] - 1);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_plan_is_cut_for_larger_images),
                                     cmocka_unit_test(images_of_the_same_size_change_nothing),
                                     cmocka_unit_test(a_thousand_groups_have_their_plans)};
  return mpi_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
