#include "shapes/claims.h"

#include "shapes/words.h"

#include <string.h>

enum { DESCRIBED_CONFLICT = -2 }; /* "the red circle is blue": fits nothing */

typedef struct {
  const question_t *question;
  claims_t *out;
  const word_t *words; /* the sentence */
  int n, at;
  noun_phrase_t subject; /* read, not yet claimed */
  bool pending;
  bool referred; /* the subject is "it": what was asked about */
  bool denied;   /* "is not" */
} claims_reader_t;

static word_class_t claims_class_at(const claims_reader_t *r, int at) {
  return word_class_at(r->words, r->n, at);
}

static claim_t claim_of(claim_kind_t kind) {
  claim_t claim;
  memset(&claim, 0, sizeof claim); /* claims are compared as bytes */
  claim.kind = kind;
  claim.object = claim.other = described_nothing();
  claim.number = claim.relation = claim.letter = claim.tone = claim.texture = DESCRIBED_NOT;
  return claim;
}

static void claim_add(claims_t *out, const claim_t *claim) {
  for (int i = 0; i < out->count; i++)
    if (memcmp(&out->claims[i], claim, sizeof *claim) == 0) return;
  if (out->count < CLAIMS_MAX) out->claims[out->count++] = *claim;
}

static int attribute_merge(int one, int other) {
  if (one == DESCRIBED_NOT) return other;
  return other == DESCRIBED_NOT || other == one ? one : DESCRIBED_CONFLICT;
}

static described_t described_merge(const described_t *one, const described_t *other) {
  return (described_t){attribute_merge(one->size, other->size), attribute_merge(one->colour, other->colour),
                       attribute_merge(one->shape, other->shape), attribute_merge(one->row, other->row),
                       attribute_merge(one->column, other->column)};
}

static bool described_is_empty(const described_t *d) {
  described_t nothing = described_nothing();
  return memcmp(d, &nothing, sizeof nothing) == 0;
}

/* Claims the pending subject as an object, or as a number of objects. */
static void subject_claim(claims_reader_t *r) {
  if (!r->pending) return;
  r->pending = false;
  const noun_phrase_t *subject = &r->subject;
  bool counted =
      subject->number != DESCRIBED_NOT && (subject->plural || subject->what.shape == DESCRIBED_NOT);
  claim_t claim = claim_of(r->denied ? CLAIM_ABSENT : counted ? CLAIM_COUNT : CLAIM_OBJECT);
  r->denied = false;
  claim.object = subject->what;
  if (counted) claim.number = subject->number;
  if (!subject->noun || (claim.kind == CLAIM_OBJECT && described_is_empty(&claim.object))) return;
  claim_add(r->out, &claim);
}

static void subject_set(claims_reader_t *r, const noun_phrase_t *subject) {
  subject_claim(r);
  r->subject = *subject;
  r->pending = true;
  r->referred = false;
}

static bool claims_read_phrase(claims_reader_t *r, noun_phrase_t *phrase) {
  int used = r->at < r->n ? noun_phrase_read(r->words + r->at, r->n - r->at, phrase) : 0;
  r->at += used;
  return used > 0;
}

static void claims_read_background(claims_reader_t *r) {
  claim_t claim = claim_of(CLAIM_BACKGROUND);
  for (; r->at < r->n; r->at++) {
    const word_t *word = &r->words[r->at];
    if (word->class == WORD_TONE) claim.tone = attribute_merge(claim.tone, word->value);
    if (word->class == WORD_TEXTURE) claim.texture = attribute_merge(claim.texture, word->value);
  }
  if (claim.tone != DESCRIBED_NOT || claim.texture != DESCRIBED_NOT) claim_add(r->out, &claim);
}

/* "no": a denial of what follows, or the answer No. */
static void claims_read_no(claims_reader_t *r) {
  noun_phrase_t phrase;
  r->at++;
  if (!claims_read_phrase(r, &phrase)) {
    claim_t no = claim_of(CLAIM_NO);
    claim_add(r->out, &no);
    return;
  }
  claim_t absent = claim_of(CLAIM_ABSENT);
  absent.object = phrase.what;
  if (phrase.noun) claim_add(r->out, &absent);
}

static void claims_read_nothing(claims_reader_t *r) {
  noun_phrase_t place;
  claim_t empty = claim_of(CLAIM_EMPTY);
  r->at++;
  if (!claims_read_phrase(r, &place) || place.noun) return;
  empty.object = place.what;
  claim_add(r->out, &empty);
}

/* "option is B", "option B". */
static void claims_read_option(claims_reader_t *r) {
  r->at++;
  if (claims_class_at(r, r->at) == WORD_IS) r->at++;
  if (claims_class_at(r, r->at) != WORD_LETTER) return;
  claim_t option = claim_of(CLAIM_OPTION);
  option.letter = r->words[r->at++].value;
  claim_add(r->out, &option);
}

static void claims_read_larger(claims_reader_t *r) {
  noun_phrase_t other;
  claim_t larger = claim_of(CLAIM_LARGER);
  larger.object = r->subject.what;
  r->at++;
  while (r->at < r->n && claims_class_at(r, r->at) == WORD_OTHER)
    r->at++; /* "than" */
  if (claims_read_phrase(r, &other) && other.noun) larger.other = other.what;
  if (!r->denied) claim_add(r->out, &larger);
  r->pending = r->denied = false;
}

static bool claims_read_relation(claims_reader_t *r) {
  int relation, used = r->at < r->n ? relation_read(r->words + r->at, r->n - r->at, &relation) : 0;
  noun_phrase_t other;
  if (used == 0) return false;
  r->at += used;
  claim_t claim = claim_of(CLAIM_RELATION);
  claim.object = r->subject.what;
  claim.relation = relation;
  if (claims_read_phrase(r, &other) && other.noun && !r->denied) {
    claim.other = other.what;
    claim_add(r->out, &claim);
  }
  r->pending = r->denied = false;
  return true;
}

/* Behind "<subject> is": an attribute, a place, a comparison, a relation. */
static void claims_read_predicate(claims_reader_t *r) {
  noun_phrase_t complement;
  r->at++;
  if (claims_class_at(r, r->at) == WORD_NOT) {
    r->denied = true;
    r->at++;
  }
  if (!r->pending) return;
  if (claims_class_at(r, r->at) == WORD_LARGER) {
    claims_read_larger(r);
    return;
  }
  if (claims_read_relation(r) || !claims_read_phrase(r, &complement)) return;
  if (r->referred && complement.noun && complement.what.shape == DESCRIBED_NOT) complement.noun = false;
  r->subject.what = described_merge(&r->subject.what, &complement.what);
  r->subject.noun = r->subject.noun || complement.noun;
}

static void claims_read_it(claims_reader_t *r) {
  r->at++;
  if (!r->question) return;
  noun_phrase_t it = {r->question->object, true, false, DESCRIBED_NOT};
  subject_set(r, &it);
  r->referred = true;
}

static void claims_read_word(claims_reader_t *r) {
  noun_phrase_t phrase;
  claim_t claim;
  switch (claims_class_at(r, r->at)) {
  case WORD_YES:
    claim = claim_of(CLAIM_YES);
    claim_add(r->out, &claim);
    r->at++;
    return;
  case WORD_NO:
    claims_read_no(r);
    return;
  case WORD_NOTHING:
    claims_read_nothing(r);
    return;
  case WORD_OPTION:
    claims_read_option(r);
    return;
  case WORD_SAME:
    claim = claim_of(CLAIM_SAME_SIZE);
    claim_add(r->out, &claim);
    r->pending = false;
    r->at++;
    return;
  case WORD_IT:
    claims_read_it(r);
    return;
  case WORD_IS:
    claims_read_predicate(r);
    return;
  case WORD_UNSURE:
    r->out->evasive = true;
    r->at++;
    return;
  default:
    if (claims_read_phrase(r, &phrase))
      subject_set(r, &phrase);
    else
      r->at++;
  }
}

/* "Red.", "Three.", "In the northwest.": with the question, a whole answer. */
static void claims_read_fragment(claims_reader_t *r) {
  noun_phrase_t phrase;
  int used = noun_phrase_read(r->words, r->n, &phrase);
  if (used < r->n || phrase.noun || !r->question) return;
  claim_t claim = claim_of(CLAIM_OBJECT);
  claim.object = described_merge(&r->question->object, &phrase.what);
  if (phrase.number != DESCRIBED_NOT) {
    claim.kind = CLAIM_COUNT;
    claim.number = phrase.number;
  }
  claim_add(r->out, &claim);
}

static void claims_read_sentence(const word_t *words, int n, const question_t *question, claims_t *out) {
  claims_reader_t reader = {.question = question, .out = out, .words = words, .n = n};
  int before = out->count;
  if (n == 1 && words[0].class == WORD_LETTER) { /* "A. red" */
    claim_t option = claim_of(CLAIM_OPTION);
    option.letter = words[0].value;
    claim_add(out, &option);
    return;
  }
  for (int i = 0; i < n; i++)
    if (words[i].class == WORD_BACKGROUND) {
      claims_read_background(&reader);
      return;
    }
  while (reader.at < reader.n)
    claims_read_word(&reader);
  subject_claim(&reader);
  if (out->count == before && n > 0) claims_read_fragment(&reader);
}

void claims_read(const char *text, const question_t *question, claims_t *out) {
  word_t words[WORDS_MAX];
  memset(out, 0, sizeof *out);
  int n = words_read(text, words, &out->words);
  for (int start = 0; start < n;) {
    int end = start;
    while (end < n && words[end].class != WORD_END && words[end].class != WORD_QUESTION)
      end++;
    bool asked = end < n && words[end].class == WORD_QUESTION;
    if (!asked) claims_read_sentence(words + start, end - start, question, out);
    start = end + 1;
  }
}

static bool background_holds(const claim_t *claim, const scene_background_t *background) {
  return (claim->tone == DESCRIBED_NOT || claim->tone == background->tone) &&
         (claim->texture == DESCRIBED_NOT || claim->texture == background->texture);
}

/* Some object that fits ONE is larger than another that fits OTHER; what it is compared with is in the
 * question if not said. */
static bool larger_holds(const claim_t *claim, const question_t *question, const scene_t *scene) {
  described_t large = claim->object, small = claim->other;
  if (question && question->ask == ASK_LARGER && described_is_empty(&small)) {
    bool first = memcmp(&claim->object, &question->object, sizeof large) == 0;
    small = first ? question->other : question->object;
  }
  if (large.size == DESCRIBED_NOT) large.size = SIZE_LARGE;
  if (small.size == DESCRIBED_NOT) small.size = SIZE_SMALL;
  return large.size == SIZE_LARGE && small.size == SIZE_SMALL && scene_count_fits(scene, &large, NULL) > 0 &&
         scene_count_fits(scene, &small, NULL) > 0;
}

static bool same_size_holds(const question_t *question, const scene_t *scene) {
  const scene_object_t *one, *other;
  if (!question || question->ask != ASK_LARGER) return false;
  scene_count_fits(scene, &question->object, &one);
  scene_count_fits(scene, &question->other, &other);
  return one && other && one->size == other->size;
}

bool claim_holds(const claim_t *claim, const question_t *question, const scene_t *scene) {
  switch (claim->kind) {
  case CLAIM_OBJECT:
    return scene_count_fits(scene, &claim->object, NULL) > 0;
  case CLAIM_ABSENT:
  case CLAIM_EMPTY:
    return scene_count_fits(scene, &claim->object, NULL) == 0;
  case CLAIM_COUNT:
    return scene_count_fits(scene, &claim->object, NULL) == claim->number;
  case CLAIM_BACKGROUND:
    return background_holds(claim, &scene->background);
  case CLAIM_LARGER:
    return larger_holds(claim, question, scene);
  case CLAIM_SAME_SIZE:
    return same_size_holds(question, scene);
  case CLAIM_RELATION:
    return scene_relation_holds(scene, &claim->object, claim->relation, &claim->other);
  case CLAIM_YES:
  case CLAIM_NO:
    return question && question_is_yes_no(question) &&
           question_truth(question, scene) == (claim->kind == CLAIM_YES);
  case CLAIM_OPTION:
    return question && question->choice && question_correct_option(question, scene) == claim->letter;
  }
  return false;
}

static bool attribute_entails(int said, int expected) {
  return expected == DESCRIBED_NOT || said == expected;
}

static bool described_entails(const described_t *said, const described_t *expected) {
  return attribute_entails(said->size, expected->size) && attribute_entails(said->colour, expected->colour) &&
         attribute_entails(said->shape, expected->shape) && attribute_entails(said->row, expected->row) &&
         attribute_entails(said->column, expected->column);
}

bool claim_entails(const claim_t *claim, const claim_t *expected) {
  if (claim->kind != expected->kind) return false;
  switch (expected->kind) {
  case CLAIM_ABSENT:
    /* "no ring" says more than "no red ring". */
    return described_entails(&expected->object, &claim->object);
  case CLAIM_COUNT:
    return claim->number == expected->number &&
           memcmp(&claim->object, &expected->object, sizeof claim->object) == 0;
  case CLAIM_BACKGROUND:
    return attribute_entails(claim->tone, expected->tone) &&
           attribute_entails(claim->texture, expected->texture);
  case CLAIM_OPTION:
    return claim->letter == expected->letter;
  case CLAIM_RELATION:
    return claim->relation == expected->relation && described_entails(&claim->object, &expected->object) &&
           described_entails(&claim->other, &expected->other);
  default:
    return described_entails(&claim->object, &expected->object) &&
           described_entails(&claim->other, &expected->other);
  }
}
