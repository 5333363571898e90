/* Texts: closed vocabulary, read back as they were meant, true where they should be and wrong where they
 * should be. */
#include "world_check.h"

#include "shapes/claims.h"
#include "shapes/dialogue.h"
#include "shapes/judge.h"
#include "shapes/words.h"
#include "text/answers.h"

#include <ctype.h>
#include <string.h>

enum { SCENES = 1500 };

static void draw(int64_t id, scene_t *scene, random_stream_t *stream) {
  scene_draw(1, id, 1, 4, scene);
  *stream = random_stream(1, RANDOM_TEST, (uint64_t)id);
}

/* A question of any kind. */
static void draw_question(const scene_t *scene, int kind, random_stream_t *stream, question_t *out) {
  switch (kind % 11) {
  case 8:
    question_draw_yes_no(scene, kind % 2 == 0, stream, out);
    return;
  case 9:
    question_draw_choice(scene, kind % 2 == 0, stream, out);
    return;
  case 10:
    question_draw(scene, TYPE_HOLISTIC, stream, out);
    out->ask = ASK_LIST;
    return;
  default:
    question_draw(scene, (question_type_t)(kind % 11), stream, out);
  }
}

static void check_words(const char *text) {
  int count;
  const char *const *words = world_vocabulary(&count);
  for (const char *at = text; *at;) {
    size_t n = 0;
    while (isalpha((unsigned char)at[n]))
      n++;
    int i = 0;
    while (n > 0 && i < count && (strlen(words[i]) != n || memcmp(words[i], at, n) != 0))
      i++;
    if (i == count) fail_msg("'%.*s' is not in the vocabulary: %s", (int)n, at, text);
    at += n > 0 ? n : 1;
  }
}

static void words_are_of_the_vocabulary(void **state) {
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    question_t question;
    char text[PHRASE_MAX], captions[CAPTIONS_MAX][PHRASE_MAX];
    draw(id, &scene, &stream);
    draw_question(&scene, (int)id, &stream, &question);
    question_text(&question, text);
    check_words(text);
    question_answer(&question, &scene, text);
    check_words(text);
    assert_null(strchr(text, '?'));
    int n = scene_captions(&scene, &stream, captions);
    for (int i = 0; i < n; i++)
      check_words(captions[i]);
  }
}

static void the_vocabulary_is_small(void **state) {
  int count;
  (void)state;
  const char *const *words = world_vocabulary(&count);
  assert_in_range(count, 40, 80);
  for (int i = 0; i < count; i++)
    for (int j = 0; j < i; j++)
      assert_string_not_equal(words[i], words[j]);
}

static void questions_are_read_back(void **state) {
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    question_t question, read;
    char text[PHRASE_MAX], again[PHRASE_MAX], marked[PHRASE_MAX + 16];
    draw(id, &scene, &stream);
    draw_question(&scene, (int)id, &stream, &question);
    question_text(&question, text);
    strcpy(marked, id % 2 ? "<image>\n" : "");
    strcat(marked, text);
    strcat(marked, id % 2 ? "" : "\n<image>");
    if (!question_read(marked, &read)) fail_msg("not read: %s", text);
    question_text(&read, again);
    assert_string_equal(text, again);
    assert_int_equal(read.ask, question.ask);
    assert_int_equal(read.choice, question.choice);
    assert_int_equal(read.explain, question.explain);
  }
}

static void strangers_are_no_questions(void **state) {
  static const char *const texts[] = {"",
                                      "?",
                                      "<image>",
                                      "Hello there.",
                                      "What is the meaning of life?",
                                      "Is it?",
                                      "Where is it?",
                                      "How many?",
                                      "Which is larger?",
                                      "Which is larger, the red circle or?",
                                      "What color is?",
                                      "What color is the ring?\nA. red\nB. blue",
                                      "What color is the ring?\nB. red\nA. blue\nC. green\nD. white"};
  question_t question;
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (question_read(texts[i], &question)) fail_msg("read: %s", texts[i]);
}

static void true_answers_get_full_marks(void **state) {
  int of_type[TYPE_COUNT] = {0};
  (void)state;
  for (int64_t id = 0; id < 2 * SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    question_t question;
    judgement_t judgement;
    char asked[PHRASE_MAX], answer[PHRASE_MAX];
    draw(id, &scene, &stream);
    draw_question(&scene, (int)id, &stream, &question);
    question_text(&question, asked);
    question_answer(&question, &scene, answer);
    judge_response(&scene, asked, answer, &judgement);
    if (judgement.rating != MMHAL_RATING || judgement.right != judgement.claims || judgement.claims == 0)
      fail_msg("%s -> %s: rating %d, %d of %d right", asked, answer, judgement.rating, judgement.right,
               judgement.claims);
    if (judgement.type != question.type)
      fail_msg("%s: type %s, expected %s", asked, question_type_name(judgement.type),
               question_type_name(question.type));
    of_type[judgement.type]++;
  }
  for (int type = 0; type < TYPE_COUNT; type++)
    assert_true(of_type[type] > 50);
}

static void captions_are_true(void **state) {
  int most = 0, least = CAPTIONS_MAX;
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    char captions[CAPTIONS_MAX][PHRASE_MAX];
    claims_t claims;
    draw(id, &scene, &stream);
    int n = scene_captions(&scene, &stream, captions);
    most = n > most ? n : most;
    least = n < least ? n : least;
    for (int i = 0; i < n; i++) {
      claims_read(captions[i], NULL, &claims);
      assert_true(claims.count > 0);
      if (i == 0) assert_int_equal(claims.count, scene.count);
      for (int j = 0; j < claims.count; j++)
        if (!claim_holds(&claims.claims[j], NULL, &scene)) fail_msg("not true: %s", captions[i]);
    }
  }
  assert_int_equal(least, 3);
  assert_int_equal(most, 5);
}

/* A biased conversation's first answer is judged a hallucination about an absent object; all other answers
 * are true, though a description may forget an object. */
static void biased_answers_hallucinate(void **state) {
  int biased = 0, tempting = 0, clean = 0, plain = 0, described = 0, forgetful = 0;
  (void)state;
  for (int64_t id = 0; id < 2 * SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    dialogue_t dialogue;
    draw(id, &scene, &stream);
    dialogue_draw_open(&scene, 0.5, 4, &stream, &dialogue);
    assert_int_equal(dialogue.caption_type, 1);
    assert_int_equal(dialogue.count, 4);
    for (int i = 0; i < dialogue.count; i++) {
      judgement_t judgement;
      judge_response(&scene, dialogue.turns[i].asked, dialogue.turns[i].answer, &judgement);
      bool wrong = i == 0 && dialogue.biased;
      if (judgement.absent != (wrong ? 1 : 0) || (judgement.rating < MMHAL_HONEST) != wrong)
        fail_msg("%s -> %s: rating %d", dialogue.turns[i].asked, dialogue.turns[i].answer, judgement.rating);
      if (i == 0 && dialogue.turns[0].question.ask == ASK_DESCRIBE) {
        described++;
        forgetful += judgement.given < judgement.expected;
      }
    }
    question_t first = dialogue.turns[0].question;
    bool could = scene_tempts(&scene) && (first.ask == ASK_DESCRIBE || first.type == TYPE_ADVERSARIAL);
    assert_true(could || !dialogue.biased);
    tempting += scene_tempts(&scene);
    biased += dialogue.biased;
    clean += !scene_tempts(&scene);
    plain += !scene_tempts(&scene) && first.ask == ASK_DESCRIBE;
  }
  /* Half of the 60 % that describe and the 10 % that ask about something absent; 40 % describe a clean scene.
   */
  assert_true(tempting > SCENES / 2 && clean > SCENES / 2);
  assert_in_range(biased * 100, tempting * 31, tempting * 39);
  assert_in_range(plain * 100, clean * 36, clean * 44);
  /* A fifth of those with two objects or more. */
  assert_in_range(forgetful * 100, described * 10, described * 20);
}

static void unbiased_sources_are_true(void **state) {
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    dialogue_t dialogue;
    draw(id, &scene, &stream);
    if (id % 2)
      dialogue_draw_caption(&scene, &stream, &dialogue);
    else
      dialogue_draw_sft(&scene, id / 2, 0, 5, &stream, &dialogue);
    bool described = false;
    for (int i = 0; i < dialogue.count; i++) {
      judgement_t judgement;
      judge_response(&scene, dialogue.turns[i].asked, dialogue.turns[i].answer, &judgement);
      assert_int_equal(judgement.rating, MMHAL_RATING);
      described = described || judgement.open;
    }
    if (id % 2) assert_true(described && dialogue.count == 1);
  }
}

/* The wording fits the matchers of the symbolic rewards, and wrong answers do not. */
static void answers_fit_the_matchers(void **state) {
  int types[8] = {0};
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    dialogue_t dialogue;
    answer_type_t type;
    draw(id, &scene, &stream);
    if (id % 2)
      dialogue_draw_choice(&scene, id % 4 == 1, &stream, &dialogue);
    else
      dialogue_draw_yes_no(&scene, 1, &stream, &dialogue);
    const char *answer = dialogue.turns[0].answer;
    types[dialogue.caption_type]++;
    check_ok(answer_type_from_number(dialogue.caption_type, &type));
    double correct = answer_correct(type, text_view(answer));
    if (id % 2) {
      assert_true(answer_type_is_option(type));
      assert_true(correct == 1);
      for (int other = ANSWER_OPTION_A; other <= ANSWER_OPTION_D; other++)
        if (other != (int)type) assert_true(answer_correct((answer_type_t)other, text_view(answer)) == 0);
    } else {
      assert_true(correct == (type == ANSWER_NO ? 0.5 : 0));
      assert_int_equal(pope_says_yes(text_view(answer)), type == ANSWER_YES);
    }
  }
  for (int type = 2; type < 8; type++)
    assert_true(types[type] > SCENES / 20);
}

static void yes_and_no_are_as_asked_for(void **state) {
  (void)state;
  for (int64_t id = 0; id < SCENES; id++) {
    scene_t scene;
    random_stream_t stream;
    question_t question;
    draw(id, &scene, &stream);
    question_draw_yes_no(&scene, id % 2 == 0, &stream, &question);
    assert_int_equal(question_truth(&question, &scene), id % 2 == 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_are_of_the_vocabulary), cmocka_unit_test(the_vocabulary_is_small),
      cmocka_unit_test(questions_are_read_back),     cmocka_unit_test(strangers_are_no_questions),
      cmocka_unit_test(true_answers_get_full_marks), cmocka_unit_test(captions_are_true),
      cmocka_unit_test(biased_answers_hallucinate),  cmocka_unit_test(unbiased_sources_are_true),
      cmocka_unit_test(answers_fit_the_matchers),    cmocka_unit_test(yes_and_no_are_as_asked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
