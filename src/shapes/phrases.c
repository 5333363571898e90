#include "shapes/phrases.h"

#include "eval/mmhal.h"
#include "shapes/text_add.h"
#include "shapes/words.h"

#include <string.h>

const char *question_type_name(question_type_t type) {
  if (type < TYPE_MMHAL_COUNT) return mmhal_type_name((int32_t)type);
  return type == TYPE_YES_NO ? "yes/no" : "choice";
}

/* `in the northwest` of a cell, with PREPOSITION; `at the top` where only the row or the column is known. */
static void phrases_add_place(char *text, const char *preposition, int row, int column) {
  if (row != DESCRIBED_NOT && column != DESCRIBED_NOT)
    text_add(text, "%s the %s", preposition, place_name(row, column));
  else
    text_add(text, "at the %s", row != DESCRIBED_NOT ? row_name(row) : column_name(column));
}

static void phrases_add_described(char *text, const described_t *described, const char *article) {
  if (*article) text_add(text, "%s ", article);
  if (described->size != DESCRIBED_NOT) text_add(text, "%s ", size_name(described->size));
  if (described->colour != DESCRIBED_NOT) text_add(text, "%s ", colour_name(described->colour));
  text_add(text, "%s", described->shape != DESCRIBED_NOT ? shape_name(described->shape) : "object");
  if (described->row == DESCRIBED_NOT && described->column == DESCRIBED_NOT) return;
  text_add(text, " ");
  phrases_add_place(text, "in", described->row, described->column);
}

void described_text(const described_t *described, const char *article, char *text) {
  *text = '\0';
  phrases_add_described(text, described, article);
}

static void phrases_add_option(char *text, const question_t *question, int option) {
  int value = question->options[option];
  const char *name = question->ask == ASK_COLOUR  ? colour_name(value)
                     : question->ask == ASK_SHAPE ? shape_name(value)
                                                  : number_name(value);
  text_add(text, "%c. %s", 'A' + option, name);
}

static void phrases_add_counted(char *text, const described_t *counted, bool plural) {
  if (counted->size != DESCRIBED_NOT) text_add(text, "%s ", size_name(counted->size));
  if (counted->colour != DESCRIBED_NOT) text_add(text, "%s ", colour_name(counted->colour));
  text_add(text, "%s", plural ? "objects" : "object");
}

static void phrases_add_asked(char *text, const question_t *q) {
  static const char *const descriptions[] = {"Describe the image.", "What is in the image?"};
  switch (q->ask) {
  case ASK_DESCRIBE:
    text_add(text, "%s", descriptions[q->wording]);
    return;
  case ASK_LIST:
    text_add(text, "List the objects in the image.");
    return;
  case ASK_COLOUR:
    text_add(text, "What color is ");
    break;
  case ASK_SIZE:
    text_add(text, "What size is ");
    break;
  case ASK_SHAPE:
    text_add(text, "What shape is ");
    break;
  case ASK_WHERE:
    text_add(text, "Where is ");
    break;
  case ASK_AT:
    text_add(text, "What is ");
    phrases_add_place(text, "in", q->object.row, q->object.column);
    text_add(text, "?");
    return;
  case ASK_COUNT:
    text_add(text, "How many ");
    phrases_add_counted(text, &q->object, true);
    text_add(text, " are there?");
    return;
  case ASK_BACKGROUND:
    text_add(text, "What is the background?");
    return;
  case ASK_LARGER:
    text_add(text, "Which is larger, ");
    phrases_add_described(text, &q->object, "the");
    text_add(text, " or ");
    phrases_add_described(text, &q->other, "the");
    text_add(text, "?");
    return;
  case ASK_EXISTS:
    text_add(text, "Is there ");
    phrases_add_described(text, &q->object, "a");
    text_add(text, q->object.row == DESCRIBED_NOT ? " in the image?" : "?");
    return;
  case ASK_IS_SIZE:
    text_add(text, "Is ");
    phrases_add_described(text, &q->object, "the");
    text_add(text, " %s?", size_name(q->size));
    return;
  case ASK_RELATION:
    text_add(text, "Is ");
    phrases_add_described(text, &q->object, "the");
    text_add(text, " %s ", relation_name(q->relation));
    phrases_add_described(text, &q->other, "the");
    text_add(text, "?");
    return;
  }
  phrases_add_described(text, &q->object, "the");
  text_add(text, "?");
}

void question_text(const question_t *question, char *text) {
  *text = '\0';
  phrases_add_asked(text, question);
  if (!question->choice) return;
  for (int option = 0; option < CHOICE_OPTIONS; option++) {
    text_add(text, "\n");
    phrases_add_option(text, question, option);
  }
  if (question->explain) text_add(text, "\nExplain.");
}

/* `In the northwest there is a small red circle`: the place first, then what is found there. */
static void phrases_add_found(char *text, const scene_object_t *object) {
  described_t what = described_fully(object);
  phrases_add_place(text, "In", what.row, what.column);
  what.row = what.column = DESCRIBED_NOT;
  text_add(text, " there is ");
  phrases_add_described(text, &what, "a");
}

/* All objects, a sentence each: the place first or, in a list, last. */
static void phrases_add_objects(char *text, const scene_t *scene, bool list) {
  for (int i = 0; i < scene->count; i++) {
    described_t all = described_fully(&scene->objects[i]);
    text_add(text, "%s%s", i ? " " : "", list ? "There is " : "");
    if (list)
      phrases_add_described(text, &all, "a");
    else
      phrases_add_found(text, &scene->objects[i]);
    text_add(text, ".");
  }
}

static void phrases_add_count(char *text, const described_t *counted, const scene_t *scene) {
  int n = scene_count_fits(scene, counted, NULL);
  text_add(text, "There %s %s ", n == 1 ? "is" : "are", n == 0 ? "no" : number_name(n));
  phrases_add_counted(text, counted, n != 1);
}

/* The asked attribute of what a question is about, as a sentence without its full stop. */
static void phrases_add_attribute(char *text, const question_t *q, const scene_t *scene) {
  const scene_object_t *object;
  if (scene_count_fits(scene, &q->object, &object) == 0) {
    text_add(text, "There is ");
    phrases_add_described(text, &q->object, "no");
    return;
  }
  phrases_add_described(text, &q->object, "The");
  text_add(text, " is ");
  if (q->ask == ASK_COLOUR) text_add(text, "%s", colour_name(object->colour));
  if (q->ask == ASK_SIZE) text_add(text, "%s", size_name(object->size));
  if (q->ask == ASK_SHAPE) text_add(text, "a %s", shape_name(object->shape));
  if (q->ask == ASK_WHERE)
    phrases_add_place(text, "in", object->cell / SCENE_COLUMNS, object->cell % SCENE_COLUMNS);
}

static void phrases_add_content(char *text, const question_t *q, const scene_t *scene) {
  const scene_object_t *object;
  int cell = q->object.row * SCENE_COLUMNS + q->object.column;
  switch (q->ask) {
  case ASK_AT:
    object = scene_at(scene, cell);
    if (!object) {
      text_add(text, "There is nothing ");
      phrases_add_place(text, "in", q->object.row, q->object.column);
    } else {
      phrases_add_found(text, object);
    }
    return;
  case ASK_COUNT:
    phrases_add_count(text, &q->object, scene);
    return;
  case ASK_BACKGROUND:
    text_add(text, "The background is %s and %s", tone_name(scene->background.tone),
             texture_name(scene->background.texture));
    return;
  case ASK_LARGER: {
    const scene_object_t *other;
    scene_count_fits(scene, &q->object, &object);
    scene_count_fits(scene, &q->other, &other);
    if (object && other && object->size == other->size) {
      text_add(text, "They are the same size");
      return;
    }
    phrases_add_described(text, object && object->size == SIZE_LARGE ? &q->object : &q->other, "The");
    text_add(text, " is larger");
    return;
  }
  default:
    phrases_add_attribute(text, q, scene);
  }
}

void question_rationale(const question_t *question, const scene_t *scene, char *text) {
  *text = '\0';
  phrases_add_content(text, question, scene);
  text_add(text, ".");
}

void question_answer(const question_t *question, const scene_t *scene, char *text) {
  *text = '\0';
  if (question_is_yes_no(question)) {
    text_add(text, "%s.", question_truth(question, scene) ? "Yes" : "No");
  } else if (question->ask == ASK_DESCRIBE || question->ask == ASK_LIST) {
    phrases_add_objects(text, scene, question->ask == ASK_LIST);
  } else if (!question->choice) {
    question_rationale(question, scene, text);
  } else if (question->explain) {
    phrases_add_content(text, question, scene);
    text_add(text, ", so the correct option is %c.", 'A' + question_correct_option(question, scene));
  } else {
    phrases_add_option(text, question, question_correct_option(question, scene));
  }
}

bool question_is_yes_no(const question_t *question) {
  return question->ask == ASK_EXISTS || question->ask == ASK_IS_SIZE || question->ask == ASK_RELATION;
}

static bool relation_holds(int relation, const scene_object_t *a, const scene_object_t *b) {
  int rows = a->cell / SCENE_COLUMNS - b->cell / SCENE_COLUMNS,
      columns = a->cell % SCENE_COLUMNS - b->cell % SCENE_COLUMNS;
  switch (relation) {
  case RELATION_LEFT:
    return columns < 0;
  case RELATION_RIGHT:
    return columns > 0;
  case RELATION_ABOVE:
    return rows < 0;
  default:
    return rows > 0;
  }
}

bool scene_relation_holds(const scene_t *scene, const described_t *one, int relation,
                          const described_t *other) {
  for (int i = 0; i < scene->count; i++)
    for (int j = 0; j < scene->count; j++)
      if (i != j && described_fits(one, &scene->objects[i]) && described_fits(other, &scene->objects[j]) &&
          relation_holds(relation, &scene->objects[i], &scene->objects[j]))
        return true;
  return false;
}

bool question_truth(const question_t *question, const scene_t *scene) {
  described_t asked = question->object;
  if (question->ask == ASK_RELATION)
    return scene_relation_holds(scene, &asked, question->relation, &question->other);
  if (question->ask == ASK_IS_SIZE) asked.size = question->size;
  return scene_count_fits(scene, &asked, NULL) > 0;
}

int question_correct_option(const question_t *question, const scene_t *scene) {
  const scene_object_t *object;
  int value = scene_count_fits(scene, &question->object, &object);
  if (question->ask == ASK_COLOUR) value = object ? object->colour : DESCRIBED_NOT;
  if (question->ask == ASK_SHAPE) value = object ? object->shape : DESCRIBED_NOT;
  for (int option = 0; option < CHOICE_OPTIONS; option++)
    if (question->options[option] == value) return option;
  return 0;
}

/* `There is A and B.`, `There is A, B and C.`: objects in a drawn order, with the attributes that KEEP marks.
 */
static void phrases_add_caption(char *text, const scene_t *scene, const int *order, bool sizes_said,
                                bool colours_said, bool places_said) {
  text_add(text, "There is ");
  for (int i = 0; i < scene->count; i++) {
    described_t what = described_fully(&scene->objects[order[i]]);
    if (!sizes_said) what.size = DESCRIBED_NOT;
    if (!colours_said) what.colour = DESCRIBED_NOT;
    if (!places_said) what.row = what.column = DESCRIBED_NOT;
    text_add(text, "%s", i == 0 ? "" : i + 1 < scene->count ? ", " : " and ");
    phrases_add_described(text, &what, "a");
  }
  text_add(text, ".");
}

static void order_shuffle(random_stream_t *stream, int n, int *order) {
  for (int i = 0; i < n; i++)
    order[i] = i;
  for (int i = n - 1; i > 0; i--) {
    int j = (int)random_below(stream, (uint32_t)i + 1), kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
}

int scene_captions(const scene_t *scene, random_stream_t *stream, char captions[CAPTIONS_MAX][PHRASE_MAX]) {
  const described_t anything = described_nothing();
  const question_t environment = {.ask = ASK_BACKGROUND, .object = anything, .other = anything};
  int order[SCENE_OBJECT_SLOTS], n = 0;
  for (int i = 0; i < CAPTIONS_MAX; i++)
    captions[i][0] = '\0';
  order_shuffle(stream, scene->count, order);
  phrases_add_caption(captions[n++], scene, order, true, true, true);
  order_shuffle(stream, scene->count, order);
  phrases_add_caption(captions[n++], scene, order, random_below(stream, 2) == 0, true, false);
  order_shuffle(stream, scene->count, order);
  phrases_add_caption(captions[n++], scene, order, false, random_below(stream, 2) == 0, true);
  if (random_below(stream, 2) == 0) {
    phrases_add_count(captions[n], &anything, scene);
    text_add(captions[n++], ".");
  }
  if (random_below(stream, 2) == 0) question_rationale(&environment, scene, captions[n++]);
  return n;
}
