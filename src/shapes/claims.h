/* What a response claims: a small tolerant parser over the world's words. Text that says nothing readable
 * makes no claim. */
#ifndef WORLD_CLAIMS_H
#define WORLD_CLAIMS_H

#include "shapes/phrases.h"
#include "shapes/scene.h"

typedef enum {
  CLAIM_OBJECT,     /* there is an object like this */
  CLAIM_ABSENT,     /* there is no object like this */
  CLAIM_EMPTY,      /* there is nothing at object.row, object.column */
  CLAIM_COUNT,      /* there are NUMBER objects like this */
  CLAIM_BACKGROUND, /* tone and texture, DESCRIBED_NOT where not said */
  CLAIM_LARGER,     /* object is larger (than other, if said) */
  CLAIM_SAME_SIZE,  /* the two objects that were asked about have one size */
  CLAIM_RELATION,   /* object RELATION other */
  CLAIM_YES,
  CLAIM_NO,
  CLAIM_OPTION /* option LETTER (0..) is right */
} claim_kind_t;

typedef struct {
  claim_kind_t kind;
  described_t object, other;
  int number, relation, letter, tone, texture;
} claim_t;

enum { CLAIMS_MAX = 32 };

typedef struct {
  int count;
  claim_t claims[CLAIMS_MAX]; /* each once, however often the text repeats it */
  int words;                  /* words of the text, marks aside */
  bool evasive;               /* says that it does not know */
} claims_t;

/* Reads the claims of TEXT. QUESTION (may be NULL) is what TEXT answers: "it", "they" and bare answers
 * ("Red.") are then understood. Sentences that end in `?` and phrases that break off claim nothing. Local. */
void claims_read(const char *text, const question_t *question, claims_t *out);

/* Is it true of SCENE? QUESTION (may be NULL) is needed for CLAIM_YES, CLAIM_NO, CLAIM_OPTION and
 * CLAIM_SAME_SIZE, which are false without the question that they answer. Local. */
bool claim_holds(const claim_t *claim, const question_t *question, const scene_t *scene);

/* True if CLAIM says at least what EXPECTED says. Local. */
bool claim_entails(const claim_t *claim, const claim_t *expected);

#endif
