/* Drawing questions about a scene, and reading them back. */
#include "shapes/phrases.h"
#include "shapes/words.h"

#include <string.h>

static const question_t empty_question = {
    .object = {DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT},
    .other = {DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT, DESCRIBED_NOT},
};

static described_t described_kind(int shape, int colour) {
  described_t kind = described_nothing();
  kind.shape = shape;
  kind.colour = colour;
  return kind;
}

static const scene_object_t *scene_pick(const scene_t *scene, random_stream_t *stream) {
  return &scene->objects[random_below(stream, (uint32_t)scene->count)];
}

/* The shortest way to say which object is meant without the attribute that is asked for: the first of the
 * tries that fits it alone. The place always does. */
static described_t object_refer(const scene_t *scene, const scene_object_t *object, ask_t ask) {
  enum { TRIES = 5 };
  const described_t all = described_fully(object);
  static const struct {
    bool size, colour, shape;
  } tries[TRIES] = {{0, 0, 1}, {0, 1, 0}, {0, 1, 1}, {1, 0, 1}, {1, 1, 0}};
  for (int i = 0; i < TRIES; i++) {
    described_t said = described_nothing();
    if ((tries[i].size && ask == ASK_SIZE) || (tries[i].colour && ask == ASK_COLOUR) ||
        (tries[i].shape && ask == ASK_SHAPE) || (!tries[i].shape && ask != ASK_SHAPE))
      continue;
    if (tries[i].size) said.size = all.size;
    if (tries[i].colour) said.colour = all.colour;
    if (tries[i].shape) said.shape = all.shape;
    if (scene_count_fits(scene, &said, NULL) == 1) return said;
  }
  described_t place = described_nothing();
  place.row = all.row;
  place.column = all.column;
  return place;
}

/* A kind that the scene lacks: the partner of one of its objects every other time, if one is missing, else
 * any. */
static described_t absent_kind(const scene_t *scene, random_stream_t *stream) {
  scene_object_t imagined;
  if (random_below(stream, 2) == 0 && scene_imagine(scene, stream, &imagined))
    return described_kind(imagined.shape, imagined.colour);
  described_t kind;
  do {
    kind = described_kind((int)random_below(stream, SHAPE_COUNT), (int)random_below(stream, COLOUR_COUNT));
  } while (scene_count_fits(scene, &kind, NULL) > 0);
  return kind;
}

void question_draw_about(const scene_object_t *object, random_stream_t *stream, question_t *out) {
  *out = empty_question;
  out->type = TYPE_ADVERSARIAL;
  out->ask = random_below(stream, 2) == 0 ? ASK_SIZE : ASK_WHERE;
  out->object = described_kind(object->shape, object->colour);
}

static void questions_draw_adversarial(const scene_t *scene, random_stream_t *stream, question_t *out) {
  described_t kind = absent_kind(scene, stream);
  scene_object_t absent = {.shape = kind.shape, .colour = kind.colour};
  question_draw_about(&absent, stream, out);
}

static void questions_draw_attribute(const scene_t *scene, random_stream_t *stream, question_t *out) {
  static const ask_t asks[] = {ASK_COLOUR, ASK_SIZE, ASK_SHAPE};
  out->ask = asks[random_below(stream, 3)];
  out->object = object_refer(scene, scene_pick(scene, stream), out->ask);
}

/* Two different objects of a scene that has them. */
static void questions_pick_two(const scene_t *scene, random_stream_t *stream, const scene_object_t **one,
                               const scene_object_t **other) {
  int first = (int)random_below(stream, (uint32_t)scene->count);
  int second = (first + 1 + (int)random_below(stream, (uint32_t)scene->count - 1)) % scene->count;
  *one = &scene->objects[first];
  *other = &scene->objects[second];
}

static void questions_draw_comparison(const scene_t *scene, random_stream_t *stream, question_t *out) {
  const scene_object_t *one, *other;
  questions_pick_two(scene, stream, &one, &other);
  out->ask = ASK_LARGER;
  out->object = described_kind(one->shape, one->colour);
  out->other = described_kind(other->shape, other->colour);
}

static void questions_draw_counting(const scene_t *scene, random_stream_t *stream, question_t *out) {
  out->ask = ASK_COUNT;
  out->type = TYPE_COUNTING;
  uint32_t which = random_below(stream, 4);
  if (which == 0) out->object.size = (int)random_below(stream, SIZE_COUNT);
  if (which == 1) out->object.colour = scene_pick(scene, stream)->colour;
}

static void questions_draw_spatial(const scene_t *scene, random_stream_t *stream, question_t *out) {
  out->ask = ASK_WHERE;
  const scene_object_t *object = scene_pick(scene, stream);
  out->object = described_kind(object->shape, object->colour);
}

static void questions_draw_other(const scene_t *scene, random_stream_t *stream, question_t *out) {
  int cell =
      random_below(stream, 4) == 0 ? (int)random_below(stream, SCENE_CELLS) : scene_pick(scene, stream)->cell;
  out->ask = ASK_AT;
  out->object.row = cell / SCENE_COLUMNS;
  out->object.column = cell % SCENE_COLUMNS;
}

void question_draw(const scene_t *scene, question_type_t type, random_stream_t *stream, question_t *out) {
  *out = empty_question;
  out->type = type;
  if (type == TYPE_COMPARISON && scene->count < 2) type = TYPE_COUNTING;
  switch (type) {
  case TYPE_ATTRIBUTE:
    questions_draw_attribute(scene, stream, out);
    return;
  case TYPE_ADVERSARIAL:
    questions_draw_adversarial(scene, stream, out);
    return;
  case TYPE_COMPARISON:
    questions_draw_comparison(scene, stream, out);
    return;
  case TYPE_COUNTING:
    questions_draw_counting(scene, stream, out);
    return;
  case TYPE_SPATIAL:
    questions_draw_spatial(scene, stream, out);
    return;
  case TYPE_ENVIRONMENT:
    out->ask = ASK_BACKGROUND;
    return;
  case TYPE_HOLISTIC:
    out->ask = ASK_DESCRIBE;
    out->wording = (int)random_below(stream, 2);
    return;
  default:
    questions_draw_other(scene, stream, out);
  }
}

static void questions_draw_relation(const scene_t *scene, bool yes, random_stream_t *stream,
                                    question_t *out) {
  const scene_object_t *one, *other;
  questions_pick_two(scene, stream, &one, &other);
  out->ask = ASK_RELATION;
  out->object = described_kind(one->shape, one->colour);
  out->other = described_kind(other->shape, other->colour);
  do {
    out->relation = (int)random_below(stream, RELATION_COUNT);
  } while (question_truth(out, scene) != yes);
}

/* Whether something is at a place: an object of the scene, the same elsewhere, or something else there. */
static void questions_draw_placed(const scene_t *scene, bool yes, random_stream_t *stream, question_t *out) {
  const scene_object_t *object = scene_pick(scene, stream);
  out->ask = ASK_EXISTS;
  do {
    int cell = object->cell;
    out->object = described_kind(object->shape, object->colour);
    if (!yes && random_below(stream, 2) == 0)
      cell = (int)random_below(stream, SCENE_CELLS);
    else if (!yes)
      out->object = absent_kind(scene, stream);
    out->object.row = cell / SCENE_COLUMNS;
    out->object.column = cell % SCENE_COLUMNS;
  } while (question_truth(out, scene) != yes);
}

void question_draw_yes_no(const scene_t *scene, bool yes, random_stream_t *stream, question_t *out) {
  *out = empty_question;
  out->type = TYPE_YES_NO;
  uint32_t which = random_below(stream, 5);
  if (which == 0 && scene->count > 1) {
    questions_draw_relation(scene, yes, stream, out);
    return;
  }
  if (which == 2) {
    questions_draw_placed(scene, yes, stream, out);
    return;
  }
  const scene_object_t *object = scene_pick(scene, stream);
  out->object = described_kind(object->shape, object->colour);
  if (which == 1) {
    out->ask = ASK_IS_SIZE;
    out->size = yes ? object->size : 1 - object->size;
    return;
  }
  out->ask = ASK_EXISTS;
  if (!yes) out->object = absent_kind(scene, stream);
}

/* Options A..D: TRUTH and three other values of LOW..HIGH-1, in a drawn order. */
static void questions_draw_options(int truth, int low, int high, random_stream_t *stream, int *options) {
  int right = (int)random_below(stream, CHOICE_OPTIONS);
  for (int i = 0; i < CHOICE_OPTIONS; i++) {
    bool used = true;
    while (used) {
      options[i] = i == right ? truth : low + (int)random_below(stream, (uint32_t)(high - low));
      used = i != right && options[i] == truth;
      for (int j = 0; j < i; j++)
        used = used || options[j] == options[i];
    }
  }
}

void question_draw_choice(const scene_t *scene, bool explain, random_stream_t *stream, question_t *out) {
  *out = empty_question;
  out->type = TYPE_CHOICE;
  out->choice = true;
  out->explain = explain;
  const scene_object_t *object = scene_pick(scene, stream);
  switch (random_below(stream, 3)) {
  case 0:
    out->ask = ASK_COUNT;
    questions_draw_options(scene->count, 1,
                           1 + (scene->count > CHOICE_OPTIONS ? SCENE_CELLS : CHOICE_OPTIONS), stream,
                           out->options);
    return;
  case 1:
    out->ask = ASK_COLOUR;
    questions_draw_options(object->colour, 0, COLOUR_COUNT, stream, out->options);
    break;
  default:
    out->ask = ASK_SHAPE;
    questions_draw_options(object->shape, 0, SHAPE_COUNT, stream, out->options);
  }
  out->object = object_refer(scene, object, out->ask);
}

/* ------------------------------------------------------------------------------------------------ reading
 * back */

/* The noun phrase at AT; *AT moves behind it. False if there is none that has a noun. */
static bool questions_read_object(const word_t *words, int n, int *at, described_t *out) {
  noun_phrase_t phrase;
  int used = *at < n ? noun_phrase_read(words + *at, n - *at, &phrase) : 0;
  if (used == 0 || !phrase.noun) return false;
  *at += used;
  *out = phrase.what;
  return true;
}

static bool questions_read_what(const word_t *words, int n, question_t *out) {
  int at = 1;
  word_class_t name = word_class_at(words, n, at);
  if (name == WORD_COLOUR_NAME || name == WORD_SIZE_NAME || name == WORD_SHAPE_NAME) {
    out->ask = name == WORD_COLOUR_NAME ? ASK_COLOUR : name == WORD_SIZE_NAME ? ASK_SIZE : ASK_SHAPE;
    out->type = TYPE_ATTRIBUTE;
    at += 2;
    return questions_read_object(words, n, &at, &out->object);
  }
  for (int i = at; i < n && words[i].class != WORD_QUESTION; i++)
    if (words[i].class == WORD_BACKGROUND) {
      out->ask = ASK_BACKGROUND;
      out->type = TYPE_ENVIRONMENT;
      return true;
    }
  noun_phrase_t phrase;
  if (n - at > 1 && noun_phrase_read(words + at + 1, n - at - 1, &phrase) > 0) {
    out->ask = ASK_AT;
    out->type = TYPE_OTHER;
    out->object = phrase.what;
    return !phrase.noun && out->object.row != DESCRIBED_NOT && out->object.column != DESCRIBED_NOT;
  }
  out->ask = ASK_DESCRIBE;
  out->type = TYPE_HOLISTIC;
  out->wording = 1;
  return word_class_at(words, n, at) == WORD_IS && word_class_at(words, n, at + 1) == WORD_AT;
}

static bool questions_read_is(const word_t *words, int n, question_t *out) {
  int at = 1, used;
  noun_phrase_t phrase;
  out->type = TYPE_YES_NO;
  if (word_class_at(words, n, at) == WORD_THERE) {
    at++;
    out->ask = ASK_EXISTS;
    return questions_read_object(words, n, &at, &out->object);
  }
  if (!questions_read_object(words, n, &at, &out->object)) return false;
  if (at < n && (used = relation_read(words + at, n - at, &out->relation)) > 0) {
    at += used;
    out->ask = ASK_RELATION;
    return questions_read_object(words, n, &at, &out->other);
  }
  if (at >= n || noun_phrase_read(words + at, n - at, &phrase) == 0) return false;
  out->ask = ASK_IS_SIZE;
  out->size = phrase.what.size;
  return phrase.what.size != DESCRIBED_NOT;
}

static bool questions_read_which(const word_t *words, int n, question_t *out) {
  int at = 1;
  while (at < n && words[at].class != WORD_COMMA)
    at++;
  at++;
  out->ask = ASK_LARGER;
  out->type = TYPE_COMPARISON;
  if (!questions_read_object(words, n, &at, &out->object)) return false;
  at++; /* "or" */
  return questions_read_object(words, n, &at, &out->other);
}

static bool questions_read_asked(const word_t *words, int n, question_t *out) {
  int at = 1;
  switch (word_class_at(words, n, 0)) {
  case WORD_DESCRIBE:
    out->ask = ASK_DESCRIBE;
    out->type = TYPE_HOLISTIC;
    return true;
  case WORD_LIST:
    out->ask = ASK_LIST;
    out->type = TYPE_HOLISTIC;
    return true;
  case WORD_WHERE:
    out->ask = ASK_WHERE;
    out->type = TYPE_SPATIAL;
    at++;
    return questions_read_object(words, n, &at, &out->object);
  case WORD_HOW:
    out->ask = ASK_COUNT;
    out->type = TYPE_COUNTING;
    at++;
    return questions_read_object(words, n, &at, &out->object);
  case WORD_WHICH:
    return questions_read_which(words, n, out);
  case WORD_WHAT:
    return questions_read_what(words, n, out);
  case WORD_IS:
    return questions_read_is(words, n, out);
  default:
    return false;
  }
}

/* Options behind the question: `A. red`, one a line. */
static bool questions_read_options(const word_t *words, int n, question_t *out) {
  int found = 0;
  for (int at = 0; at < n; at++) {
    if (word_class_at(words, n, at) == WORD_EXPLAIN) out->explain = true;
    if (word_class_at(words, n, at) != WORD_LETTER || word_class_at(words, n, at + 1) != WORD_END ||
        at + 2 >= n)
      continue;
    if (words[at].value != found || found == CHOICE_OPTIONS) return false;
    out->options[found++] = words[at + 2].value;
  }
  out->choice = found == CHOICE_OPTIONS;
  if (out->choice) out->type = TYPE_CHOICE;
  return found == 0 || out->choice;
}

bool question_read(const char *text, question_t *out) {
  word_t words[WORDS_MAX];
  int n, start = 0, end;
  *out = empty_question;
  while (strncmp(text, "<image>", 7) == 0 || *text == '\n' || *text == ' ')
    text += *text == '<' ? 7 : 1;
  n = words_read(text, words, NULL);
  while (start < n && (words[start].class == WORD_END || words[start].class == WORD_OTHER))
    start++;
  end = start;
  while (end < n && words[end].class != WORD_QUESTION && words[end].class != WORD_END)
    end++;
  return questions_read_asked(words + start, end - start, out) &&
         questions_read_options(words + end, n - end, out);
}
