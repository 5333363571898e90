/* Questions and answers of the shapes world in natural English with a closed vocabulary and a fixed word
 * order: what a small model can learn, and what a judge can read back (shapes/claims.h). */
#ifndef WORLD_PHRASES_H
#define WORLD_PHRASES_H

#include "shapes/scene.h"

#include <stddef.h>

enum {
  PHRASE_MAX = 512
}; /* bytes of the longest text, '\0' included: a description of nine objects has less than
     500 */

/* What a question is about: the eight types of MMHal-Bench in its order, then those of the other sources. */
typedef enum {
  TYPE_ATTRIBUTE,
  TYPE_ADVERSARIAL, /* takes an object for granted that is not there */
  TYPE_COMPARISON,
  TYPE_COUNTING,
  TYPE_SPATIAL,
  TYPE_ENVIRONMENT,
  TYPE_HOLISTIC,
  TYPE_OTHER,
  TYPE_MMHAL_COUNT,
  TYPE_YES_NO = TYPE_MMHAL_COUNT,
  TYPE_CHOICE,
  TYPE_COUNT
} question_type_t;

/* "attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other" as
 * MMHal-Bench writes them, "yes/no", "choice". Local. */
const char *question_type_name(question_type_t type);

typedef enum {
  ASK_DESCRIBE,   /* Describe the image. What is in the image? */
  ASK_LIST,       /* List the objects in the image. (captions' wording, never biased) */
  ASK_COLOUR,     /* What color is the ring? */
  ASK_SIZE,       /* What size is the red ring? */
  ASK_SHAPE,      /* What shape is the red object? */
  ASK_WHERE,      /* Where is the red ring? */
  ASK_AT,         /* What is in the northwest? */
  ASK_COUNT,      /* How many (red) objects are there? */
  ASK_BACKGROUND, /* What is the background? */
  ASK_LARGER,     /* Which is larger, the red ring or the blue cross? */
  ASK_EXISTS,     /* Is there a red ring in the image? */
  ASK_IS_SIZE,    /* Is the red ring small? */
  ASK_RELATION    /* Is the red ring above the blue cross? */
} ask_t;

enum { CHOICE_OPTIONS = 4 };

typedef struct {
  ask_t ask;
  question_type_t type;
  described_t object; /* what is asked about; ASK_AT: its row and column; ASK_COUNT: what is counted */
  described_t other;  /* ASK_LARGER, ASK_RELATION */
  int size;           /* ASK_IS_SIZE: the size asked for */
  int relation;       /* ASK_RELATION: RELATION_* */
  int wording;        /* ASK_DESCRIBE: which of the two */
  bool choice;        /* with four options: ASK_COLOUR, ASK_SHAPE, ASK_COUNT */
  bool explain;       /* the answer gives its reason first and ends in `the correct option is X.` */
  int options[CHOICE_OPTIONS]; /* values (colours, shapes, numbers) of options A.. */
} question_t;

/* Draws a question of one of the eight types about SCENE (which has an absent kind, as every scene).
 * TYPE_COMPARISON needs two objects: with one the question is of type TYPE_COUNTING. Local. */
void question_draw(const scene_t *scene, question_type_t type, random_stream_t *stream, question_t *out);

/* The adversarial question about a given object, present or not. Local. */
void question_draw_about(const scene_object_t *object, random_stream_t *stream, question_t *out);

/* Draws a yes/no question whose true answer is YES or no. Local. */
void question_draw_yes_no(const scene_t *scene, bool yes, random_stream_t *stream, question_t *out);

/* Draws a question with four options; EXPLAIN asks for the reason. Local. */
void question_draw_choice(const scene_t *scene, bool explain, random_stream_t *stream, question_t *out);

/* Writes the question's text to TEXT (PHRASE_MAX). Local. */
void question_text(const question_t *question, char *text);

/* Writes the true answer about SCENE to TEXT (PHRASE_MAX): a question about something absent is answered
 * `There is no ...`. A biased answer is the true answer about a scene with a made-up object in it. Local. */
void question_answer(const question_t *question, const scene_t *scene, char *text);

/* The truth of a question that is answered by yes or no, and the option (0..3) of one with options, for
 * SCENE. Local. */
bool question_is_yes_no(const question_t *question);
bool question_truth(const question_t *question, const scene_t *scene);
int question_correct_option(const question_t *question, const scene_t *scene);

/* Reads a question's text back (`<image>` marks are ignored). False if it is none of the world's questions.
 * Local. */
bool question_read(const char *text, question_t *out);

/* `a small red circle in the northwest`, `red circle`, `object in the northwest`: what is said of an object.
 * ARTICLE may be "". Local. */
void described_text(const described_t *described, const char *article, char *text);

/* Writes 3 to 5 true captions of the scene (each PHRASE_MAX); returns how many. The first names all objects
 * with all attributes, the others fewer, in another order. Local. */
enum { CAPTIONS_MAX = 5 };
int scene_captions(const scene_t *scene, random_stream_t *stream, char captions[CAPTIONS_MAX][PHRASE_MAX]);

/* True if an object that fits ONE stands in RELATION (RELATION_*) to another that fits OTHER. Local. */
bool scene_relation_holds(const scene_t *scene, const described_t *one, int relation,
                          const described_t *other);

/* Writes the rationale of a question with options (its answer as a sentence, without the option). Local. */
void question_rationale(const question_t *question, const scene_t *scene, char *text);

#endif
