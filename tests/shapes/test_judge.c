/* The judge and the annotator on sentences written by hand. */
#include "world_check.h"

#include "eval/tally.h"
#include "shapes/annotate.h"
#include "shapes/claims.h"
#include "shapes/shapes_judge.h"

#include <string.h>

typedef struct {
  const char *question, *response;
  int claims, right, rating;
} judge_case_t;

#define DESCRIBE "Describe the image."
#define CIRCLE "There is a small red circle in the northwest."
#define SQUARE "There is a large blue square in the center."
#define RING "There is a small white ring in the southeast."

/* About clean_scene(). */
static const judge_case_t cases[] = {
    /* Descriptions: all, most, some, none of the objects. */
    {DESCRIBE, CIRCLE " " SQUARE " " RING, 3, 3, 6},
    {"What is in the image?", RING " " SQUARE " " CIRCLE, 3, 3, 6},
    {"<image>\nList the objects in the image.", CIRCLE " " SQUARE " " RING, 3, 3, 6},
    {DESCRIBE, CIRCLE " " SQUARE, 2, 2, 4},
    {DESCRIBE, "In the northwest there is a small red circle. In the center there is a large blue square.", 2,
     2, 4},
    {DESCRIBE, "At the top left there is a small red circle.", 1, 1, 4},
    {DESCRIBE, "In the southeast there is a small red circle.", 1, 0, 0},
    {DESCRIBE,
     "There is a small white ring at the bottom right and a large blue square at the middle center.", 2, 2,
     4},
    {DESCRIBE, "There is a small red circle, a large blue square and a white ring.", 3, 3, 6},
    {DESCRIBE, "I see a red circle and a blue square and a white ring", 3, 3, 6},
    {DESCRIBE, "A red circle. A blue square. A white ring.", 3, 3, 6},
    {DESCRIBE, "the RED Circle; the Blue SQUARE; the white ring!", 3, 3, 6},
    {DESCRIBE, "There are three objects.", 1, 1, 3},
    {DESCRIBE, "There is a circle.", 1, 1, 3},
    {DESCRIBE, "There is an object in the northwest.", 1, 1, 3},
    {DESCRIBE, "The background is dark and striped.", 1, 1, 3},
    /* Descriptions: with something wrong. */
    {DESCRIBE, CIRCLE " " SQUARE " " RING " There is a small yellow cross in the northeast.", 4, 3, 2},
    {DESCRIBE, CIRCLE " There is a large red square in the center.", 2, 1, 1},
    {DESCRIBE, "There is a large red circle in the northwest.", 1, 0, 0},
    {DESCRIBE, "There is a small red circle in the northeast.", 1, 0, 0},
    {DESCRIBE, CIRCLE " " SQUARE " " RING " The background is light.", 4, 3, 2},
    {DESCRIBE, "There are two circles.", 1, 0, 0},
    {DESCRIBE, "There are four objects.", 1, 0, 0},
    {DESCRIBE, "There is no red circle.", 1, 0, 0},
    /* Repeated and broken-off text claims nothing more. */
    {DESCRIBE, CIRCLE " " CIRCLE " " CIRCLE, 1, 1, 4},
    {DESCRIBE, CIRCLE " " SQUARE " " RING " There is a small yellow", 3, 3, 6},
    {DESCRIBE, CIRCLE " " SQUARE " " RING " There is a small", 3, 3, 6},
    {DESCRIBE, CIRCLE " " SQUARE " " RING " Is there a yellow cross?", 3, 3, 6},
    {DESCRIBE, CIRCLE " " SQUARE " There is a small white ring in the", 3, 3, 6},
    {DESCRIBE, CIRCLE " " SQUARE " In the southeast there is a", 2, 2, 4},
    /* Nothing to read. */
    {DESCRIBE, "", 0, 0, 0},
    {DESCRIBE, " \n", 0, 0, 0},
    {DESCRIBE, "...", 0, 0, 0},
    {DESCRIBE, "There there is is a a.", 0, 0, 1},
    {DESCRIBE, "\xff\xfe garbage \x01", 0, 0, 1},
    {DESCRIBE, "I do not know.", 0, 0, 3},
    {DESCRIBE, "Sorry, I cannot see the image.", 0, 0, 3},
    /* Attributes. */
    {"What color is the ring?", "The ring is white.", 1, 1, 6},
    {"What color is the ring?", "white", 1, 1, 6},
    {"What color is the ring?", "It is white.", 1, 1, 6},
    {"What color is the ring?", "The ring is red.", 1, 0, 0},
    {"What color is the ring?", "Red.", 1, 0, 0},
    {"What color is the ring?", "There is a ring.", 1, 1, 3},
    {"What color is the ring?", "There is a small white ring in the southeast.", 1, 1, 6},
    {"What color is the ring?", "The ring is white. The square is red.", 2, 1, 2},
    {"What color is the ring?", "There is no ring.", 1, 0, 0},
    {"What size is the blue square?", "The blue square is large.", 1, 1, 6},
    {"What size is the blue square?", "It is big.", 1, 1, 6},
    {"What size is the blue square?", "The blue square is small.", 1, 0, 0},
    {"What size is the blue square?", "The blue square is not small.", 1, 1, 3},
    {"What shape is the red object?", "The red object is a circle.", 1, 1, 6},
    {"What shape is the red object?", "It is a circle.", 1, 1, 6},
    {"What shape is the red object?", "The red object is a ring.", 1, 0, 0},
    {"What shape is the object in the northwest?", "The object in the northwest is a circle.", 1, 1, 6},
    {"What shape is the object in the northwest?", "The object in the northwest is a cross.", 1, 0, 0},
    /* Objects that are not there. */
    {"What size is the yellow cross?", "There is no yellow cross.", 1, 1, 6},
    {"What size is the yellow cross?", "There is no cross in the image.", 1, 1, 6},
    {"What size is the yellow cross?", "The yellow cross is small.", 1, 0, 0},
    {"Where is the yellow cross?", "The yellow cross is in the northeast.", 1, 0, 0},
    {"Where is the yellow cross?", "I am not sure.", 0, 0, 3},
    /* Comparison. */
    {"Which is larger, the red circle or the blue square?", "The blue square is larger.", 1, 1, 6},
    {"Which is larger, the red circle or the blue square?", "The blue square is larger than the red circle.",
     1, 1, 6},
    {"Which is larger, the red circle or the blue square?", "The red circle is larger.", 1, 0, 0},
    {"Which is larger, the red circle or the blue square?", "They are the same size.", 1, 0, 0},
    {"Which is larger, the red circle or the white ring?", "They are the same size.", 1, 1, 6},
    {"Which is larger, the red circle or the white ring?", "The white ring is larger.", 1, 0, 0},
    {"Which is larger, the red circle or the blue square?", "The blue square is large.", 1, 1, 3},
    /* Counting. */
    {"How many objects are there?", "There are three objects.", 1, 1, 6},
    {"How many objects are there?", "Three.", 1, 1, 6},
    {"How many objects are there?", "There are two objects.", 1, 0, 0},
    {"How many objects are there?", CIRCLE " " SQUARE " " RING, 3, 3, 3},
    {"How many small objects are there?", "There are two small objects.", 1, 1, 6},
    {"How many large objects are there?", "There is one large object.", 1, 1, 6},
    {"How many green objects are there?", "There are no green objects.", 1, 1, 6},
    {"How many green objects are there?", "There is one green object.", 1, 0, 0},
    /* Places and relations. */
    {"Where is the red circle?", "The red circle is in the northwest.", 1, 1, 6},
    {"Where is the red circle?", "In the northwest.", 1, 1, 6},
    {"Where is the red circle?", "It is in the northeast.", 1, 0, 0},
    {"Where is the red circle?", "It is at the top.", 1, 1, 3},
    {"Where is the red circle?", "The red circle is at the top left.", 1, 1, 6},
    {"Where is the red circle?", "The red circle is to the left of the blue square.", 1, 1, 3},
    {"Where is the red circle?", "The red circle is below the blue square.", 1, 0, 0},
    {"What is in the northwest?", "There is a small red circle in the northwest.", 1, 1, 6},
    {"What is in the northwest?", "A red circle.", 1, 1, 6},
    {"What is in the northwest?", "There is a small red cross in the northwest.", 1, 0, 0},
    {"What is in the northwest?", "There is nothing in the northwest.", 1, 0, 0},
    {"What is in the northeast?", "There is nothing in the northeast.", 1, 1, 6},
    {"What is in the northeast?", "There is a small yellow cross in the northeast.", 1, 0, 0},
    /* Environment. */
    {"What is the background?", "The background is dark and striped.", 1, 1, 6},
    {"What is the background?", "The background is striped and dark.", 1, 1, 6},
    {"What is the background?", "The background is dark.", 1, 1, 3},
    {"What is the background?", "The background is dark and plain.", 1, 0, 0},
    /* Yes and no. */
    {"Is there a red circle in the image?", "Yes.", 1, 1, 6},
    {"Is there a red circle in the image?", "yes", 1, 1, 6},
    {"Is there a red circle in the image?", "Yes, there is a small red circle in the northwest.", 2, 2, 6},
    {"Is there a red circle in the image?", "Yes, there is a large red circle.", 2, 1, 2},
    {"Is there a red circle in the image?", "No.", 1, 0, 0},
    {"Is there a red circle in the northwest?", "Yes.", 1, 1, 6},
    {"Is there a red circle in the center?", "Yes.", 1, 0, 0},
    {"Is there a red circle in the center?", "No.", 1, 1, 6},
    {"Is there a yellow cross in the image?", "No.", 1, 1, 6},
    {"Is there a yellow cross in the image?", "No, there is no yellow cross.", 2, 2, 6},
    {"Is there a yellow cross in the image?", "Yes.", 1, 0, 0},
    {"Is the red circle small?", "Yes.", 1, 1, 6},
    {"Is the red circle large?", "Yes.", 1, 0, 0},
    {"Is the red circle to the left of the blue square?", "Yes.", 1, 1, 6},
    {"Is the red circle to the right of the blue square?", "No.", 1, 1, 6},
    {"Is the red circle above the white ring?", "Yes.", 1, 1, 6},
    {"Is the red circle below the white ring?", "Yes.", 1, 0, 0},
    /* An answer to what was not asked is not wrong. */
    {"Where is the red circle?", "Yes. The red circle is in the northwest.", 1, 1, 6},
    /* Options. */
    {"What color is the ring?\nA. red\nB. white\nC. blue\nD. green", "B. white", 2, 2, 6},
    {"What color is the ring?\nA. red\nB. white\nC. blue\nD. green", "B.", 1, 1, 6},
    {"What color is the ring?\nA. red\nB. white\nC. blue\nD. green", "A. red", 2, 0, 0},
    {"What color is the ring?\nA. red\nB. white\nC. blue\nD. green\nExplain.",
     "The ring is white, so the correct option is B.", 2, 2, 6},
    {"What color is the ring?\nA. red\nB. white\nC. blue\nD. green\nExplain.",
     "The ring is red, so the correct option is B.", 2, 1, 2},
    {"What color is the ring?\nA. red\nB. white\nC. blue\nD. green\nExplain.", "The ring is white.", 1, 1, 3},
    {"How many objects are there?\nA. two\nB. one\nC. three\nD. four", "C. three", 2, 2, 6},
};

static void sentences_are_judged(void **state) {
  const scene_t scene = clean_scene();
  int failed = 0;
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    judgement_t j;
    judge_response(&scene, cases[i].question, cases[i].response, &j);
    if (j.claims == cases[i].claims && j.right == cases[i].right && j.rating == cases[i].rating) continue;
    failed++;
    print_error("%s -> %s: %d of %d right, rating %d; expected %d of %d, rating %d\n", cases[i].question,
                cases[i].response, j.right, j.claims, j.rating, cases[i].right, cases[i].claims,
                cases[i].rating);
  }
  assert_int_equal(failed, 0);
}

static void absent_objects_are_told_from_wrong_attributes(void **state) {
  const scene_t scene = clean_scene();
  judgement_t j;
  (void)state;
  judge_response(&scene, DESCRIBE,
                 "There is a large red circle. There is a yellow cross. There is a blue circle.", &j);
  assert_int_equal(j.claims, 3);
  assert_int_equal(j.right, 0);
  assert_int_equal(j.absent, 2);
  assert_true(j.open && j.clean);
  assert_int_equal(j.words, 16);
}

static void long_answers_are_bounded(void **state) {
  static char text[60000];
  const scene_t scene = clean_scene();
  judgement_t j;
  (void)state;
  for (size_t i = 0; i + 80 < sizeof text; i += strlen(CIRCLE " "))
    memcpy(text + i, CIRCLE " ", strlen(CIRCLE " ") + 1);
  judge_response(&scene, DESCRIBE, text, &j);
  assert_int_equal(j.claims, 1);
  assert_int_equal(j.words, (int)(strlen(text) / strlen(CIRCLE " ") * 9));
  memset(text, 'a', sizeof text - 1);
  judge_response(&scene, DESCRIBE, text, &j);
  assert_int_equal(j.rating, 1);
}

/* Every sequence of words, however odd, is judged without harm, and never above what its claims allow. */
static void any_words_are_survived(void **state) {
  static const char *const words[] = {
      "there",  "is",  "no",   "a",     "small",  "red",     "circle",  "circles",    "at",
      "the",    "top", "left", ".",     "?",      ",",       "A",       "B.",         "option",
      "Yes",    "It",  "not",  "two",   "than",   "same",    "nothing", "background", "dark",
      "larger", "of",  "to",   "above", "object", "objects", "\n",      "is",         "are"};
  const scene_t scene = tempting_scene();
  random_stream_t stream = random_stream(1, RANDOM_TEST, 0);
  static const char *const questions[] = {DESCRIBE, "Where is the red circle?", "Is the red circle small?",
                                          "nonsense", "Which is larger, the red circle or the green cross?"};
  (void)state;
  for (int i = 0; i < 20000; i++) {
    char text[512] = "";
    judgement_t j;
    int n = (int)random_below(&stream, 30);
    for (int w = 0; w < n; w++) {
      strcat(text, words[random_below(&stream, sizeof words / sizeof *words)]);
      strcat(text, " ");
    }
    judge_response(&scene, questions[i % 5], text, &j);
    assert_in_range(j.rating, 0, MMHAL_RATING);
    assert_true(j.right >= 0 && j.right <= j.claims && j.absent <= j.claims - j.right &&
                j.given <= j.expected);
    if (j.right < j.claims) assert_true(j.rating < MMHAL_HONEST);
  }
}

static void add(tally_t *tally, const scene_t *scene, const char *question, const char *response) {
  judgement_t j;
  verdict_t verdict = {0};
  judge_response(scene, question, response, &j);
  shapes_verdict(&j, &verdict);
  tally_add(tally, &shapes_judge, &verdict);
}

static void verdicts_add_up(void **state) {
  const scene_t clean = clean_scene(), tempting = tempting_scene();
  static const struct {
    double value, answers;
  } expected[SHAPES_METRICS] = {
      [SHAPES_RATING] = {(6 + 1 + 1 + 6) / 4.0, 4},
      [SHAPES_HALLUCINATION] = {0.5, 4},
      [SHAPES_OPEN_HALLUCINATION] = {2.0 / 3, 3},
      [SHAPES_CLAIMS_RIGHT] = {6.0 / 8, 4},
      [SHAPES_CLEAN_CLAIMS_RIGHT] = {4.0 / 5, 2},
      [SHAPES_CLAIMS_ABSENT] = {2.0 / 8, 4},
      [SHAPES_RECALL] = {5.0 / 8, 3},
      [SHAPES_WORDS] = {(27 + 14 + 11 + 4) / 4.0, 4},
  };
  tally_t tally = {0}, empty = {0};
  (void)state;
  add(&tally, &clean, DESCRIBE, CIRCLE " " SQUARE " " RING);
  add(&tally, &clean, DESCRIBE, CIRCLE " There is a red cross.");
  add(&tally, &tempting, DESCRIBE, "There is a large green triangle. There is a yellow cross.");
  add(&tally, &clean, "What color is the ring?", "The ring is white.");
  for (int32_t m = 0; m < SHAPES_METRICS; m++) {
    interval_t got = tally_metric(&tally, &shapes_judge, m);
    assert_true(got.value == expected[m].value && got.answers == expected[m].answers);
    assert_true(tally_metric(&empty, &shapes_judge, m).value == 0);
  }
  assert_true(tally.answers[TYPE_HOLISTIC] == 3 && tally.answers[TYPE_ATTRIBUTE] == 1);
  assert_true(tally_type_metric(&tally, &shapes_judge, TYPE_ATTRIBUTE, SHAPES_RATING).value == 6);
  assert_true(tally_type_metric(&tally, &shapes_judge, TYPE_HOLISTIC, SHAPES_HALLUCINATION).value == 2.0 / 3);
}

static void the_annotator_dislikes_hallucination(void **state) {
  static const struct {
    const char *better, *worse;
  } pairs[] = {
      /* Fewer wrong claims first, though less is said; then more objects; then fewer words; something before
         nothing. */
      {CIRCLE, CIRCLE " " SQUARE " " RING " There is a red cross."},
      {CIRCLE " There is a red cross.", SQUARE " There is a red cross. There is a green cross."},
      {CIRCLE " " SQUARE, CIRCLE},
      {"There is a red circle.", CIRCLE},
      {CIRCLE, ""},
      {"There are three objects.", ""},
      {"", "There is a red cross."},
  };
  const scene_t scene = clean_scene();
  const annotator_t annotator = {.seed = 1, .noise = 0};
  (void)state;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    assert_int_equal(annotate_pair(&annotator, &scene, DESCRIBE, pairs[i].better, pairs[i].worse, 3, NULL),
                     1);
    assert_int_equal(annotate_pair(&annotator, &scene, DESCRIBE, pairs[i].worse, pairs[i].better, 3, NULL),
                     2);
  }
  /* Wrong alike: nothing to choose, whatever the lengths. */
  assert_int_equal(annotate_pair(&annotator, &scene, "Where is the red circle?", "There is no red circle.",
                                 "The small red circle is in the southeast.", 3, NULL),
                   0);
}

static void label_noise_is_as_asked_for(void **state) {
  enum { PAIRS = 4000 };
  const scene_t scene = clean_scene();
  const annotator_t annotator = {.seed = 1, .noise = 0.1}, other = {.seed = 2, .noise = 0.1};
  annotation_counts_t counts = {0}, ties = {0};
  int differ = 0;
  (void)state;
  for (int64_t pair = 0; pair < PAIRS; pair++) {
    int label = annotate_pair(&annotator, &scene, DESCRIBE, CIRCLE, "There is a red cross.", pair, &counts);
    assert_int_equal(
        label, annotate_pair(&annotator, &scene, DESCRIBE, CIRCLE, "There is a red cross.", pair, NULL));
    differ += label != annotate_pair(&other, &scene, DESCRIBE, CIRCLE, "There is a red cross.", pair, NULL);
    (void)annotate_pair(&annotator, &scene, DESCRIBE, CIRCLE, CIRCLE, pair, &ties);
  }
  assert_int_equal(counts.pairs, PAIRS);
  assert_int_equal(counts.ties, 0);
  assert_int_equal(counts.first + counts.noisy, PAIRS);
  assert_in_range(counts.noisy, PAIRS * 8 / 100, PAIRS * 12 / 100);
  assert_true(differ > PAIRS / 10);
  assert_int_equal(ties.ties, PAIRS);
  assert_int_equal(ties.first, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sentences_are_judged),
      cmocka_unit_test(absent_objects_are_told_from_wrong_attributes),
      cmocka_unit_test(long_answers_are_bounded),
      cmocka_unit_test(any_words_are_survived),
      cmocka_unit_test(verdicts_add_up),
      cmocka_unit_test(the_annotator_dislikes_hallucination),
      cmocka_unit_test(label_noise_is_as_asked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
