/* Samples from questions about COCO's images: VQA-v2's yes/no questions, of each image one conversation, and
 * A-OKVQA's multiple choice. Answers are worded as the correctness reward reads them (text/answers.h). */
#include "data/composing.h"
#include "data/gathering.h"
#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { TYPE_FIRST_CHOICE = 2, TYPE_NO = 6, TYPE_YES = 7, CHOICES_MAX = 4 };

/* ---- VQA-v2: answers ---- */

/* What all annotations of a question say. */
typedef struct {
  int64_t question;
  bool yes, no;
} vqa_answer_t;

typedef struct {
  vqa_answer_t *rows; /* (count), ascending once they are joined */
  int64_t count;
} vqa_answers_t;

static void vqa_answers_free(vqa_answers_t *answers) {
  memory_free(answers->rows);
}

static int vqa_answer_compare(const void *a, const void *b) {
  const vqa_answer_t *x = a, *y = b;
  return x->question < y->question ? -1 : x->question > y->question;
}

/* Answers other than yes and no, to whatever type of question, do not count: they are neither. */
static status_t vqa_answer_read(const json_element_t *element, vqa_answer_t *out) {
  char where[64];
  const char *answer, *type;
  *out = (vqa_answer_t){0};
  snprintf(where, sizeof where, "element %" PRId64, element->index);
  TRY(json_int(element->value, "question_id", where, &out->question));
  TRY(json_string(element->value, "answer_type", where, &type));
  TRY(json_string(element->value, "multiple_choice_answer", where, &answer));
  if (strcmp(type, "yes/no") != 0) return STATUS_OK;
  out->yes = strcmp(answer, "yes") == 0;
  out->no = strcmp(answer, "no") == 0;
  return STATUS_OK;
}

static status_t vqa_answer_add(prepare_t *prepare, prepare_source_t *source, const json_element_t *element,
                               vqa_answers_t *answers) {
  vqa_answer_t answer;
  status_code_t status = vqa_answer_read(element, &answer);
  if (status == STATUS_DATA)
    return sample_take_bad(prepare, source, prepare->options->vqa_annotations, element->line, NULL);
  TRY(status);
  if (!answer.yes && !answer.no) return STATUS_OK;
  TRY(memory_reserve(&answers->rows, ARENA_DATA, (size_t)answers->count + 1, sizeof *answers->rows));
  answers->rows[answers->count++] = answer;
  return STATUS_OK;
}

/* Makes one row of each question's. */
static void vqa_answers_join(vqa_answers_t *answers) {
  int64_t joined = 0;
  if (answers->count > 0)
    qsort(answers->rows, (size_t)answers->count, sizeof *answers->rows, vqa_answer_compare);
  for (int64_t i = 0; i < answers->count; i++) {
    const vqa_answer_t row = answers->rows[i];
    if (joined == 0 || answers->rows[joined - 1].question != row.question)
      answers->rows[joined++] = (vqa_answer_t){.question = row.question};
    answers->rows[joined - 1].yes |= row.yes;
    answers->rows[joined - 1].no |= row.no;
  }
  answers->count = joined;
}

static const vqa_answer_t *vqa_answer_find(const vqa_answers_t *answers, int64_t question) {
  const vqa_answer_t wanted = {.question = question};
  if (answers->count == 0) return NULL;
  return bsearch(&wanted, answers->rows, (size_t)answers->count, sizeof wanted, vqa_answer_compare);
}

static status_t vqa_answers_read(prepare_t *prepare, prepare_source_t *source, vqa_answers_t *answers) {
  SCOPED(json_reader_close_at) json_reader_t *file = NULL;
  const char *path = prepare->options->vqa_annotations;
  json_element_t element;
  TRY(json_reader_open_list(path, "annotations", NULL, &file));
  for (;;) {
    TRY(source_next(prepare, path, file, &element));
    if (element.value == NULL) break;
    TRY(vqa_answer_add(prepare, source, &element, answers));
  }
  vqa_answers_join(answers);
  return STATUS_OK;
}

/* ---- VQA-v2: questions ---- */

typedef struct {
  int64_t id, image;
  text_view_t text;
  const vqa_answer_t *answer; /* NULL: neither yes nor no */
} vqa_question_t;

static status_t vqa_question_read(const json_element_t *element, const vqa_answers_t *answers,
                                  vqa_question_t *question) {
  char where[64];
  const char *text;
  snprintf(where, sizeof where, "element %" PRId64, element->index);
  TRY(json_int(element->value, "question_id", where, &question->id));
  TRY(json_int(element->value, "image_id", where, &question->image));
  TRY(json_string(element->value, "question", where, &text));
  question->text = (text_view_t){text, (size_t)json_get(element->value, "question")->count};
  question->answer = vqa_answer_find(answers, question->id);
  if (question->answer == NULL || question->answer->yes != question->answer->no) return STATUS_OK;
  return error_set(STATUS_DATA,
                   "%s: question %" PRId64 " is annotated with 'yes' and with 'no'; expected one of them",
                   where, question->id);
}

static status_t vqa_question_add(prepare_t *prepare, prepare_source_t *source, const vqa_answers_t *answers,
                                 const json_element_t *element, gathering_t *questions) {
  vqa_question_t question;
  status_code_t status = vqa_question_read(element, answers, &question);
  if (status == STATUS_DATA) return sample_take_bad(prepare, source, source->path, element->line, NULL);
  TRY(status);
  if (question.answer == NULL) {
    source->passed_over++;
    return STATUS_OK;
  }
  const gathered_t row = {.group = question.image,
                          .order = (uint64_t)question.id,
                          .n = (int32_t)question.text.n,
                          .value = question.answer->yes};
  return gathering_add(questions, &prepare->spool, row, question.text.bytes);
}

static status_t vqa_questions_read(prepare_t *prepare, prepare_source_t *source, const vqa_answers_t *answers,
                                   gathering_t *questions) {
  SCOPED(json_reader_close_at) json_reader_t *file = NULL;
  json_element_t element;
  TRY(json_reader_open_list(source->path, "questions", NULL, &file));
  for (;;) {
    TRY(source_next(prepare, source->path, file, &element));
    if (element.value == NULL) break;
    TRY(vqa_question_add(prepare, source, answers, &element, questions));
  }
  gathering_sort(questions);
  if (questions->count > 0) return STATUS_OK;
  return error_set(
      STATUS_DATA,
      "%s: none of its questions has one answer, yes or no, in %s; do the files belong together?",
      source->path, prepare->options->vqa_annotations);
}

/* Rows BEGIN .. END - 1, all of one image, as a conversation. What the truth of its first question is, is its
 * answer type: that is the one PPO asks. */
static status_t vqa_compose(prepare_t *prepare, const gathered_t *rows, int64_t count, composing_t *sample) {
  enum { MORE = 8 /* bytes of an answer */ };
  size_t bytes = 0;
  for (int64_t i = 0; i < count; i++)
    bytes += (size_t)rows[i].n + MORE;
  TRY(composing_start(sample, (int32_t)(2 * count), bytes));
  snprintf(sample->id, sizeof sample->id, "vqa_%" PRId64, rows[0].group);
  TRY(composing_coco_image(sample, text_or_none(prepare->options->coco_prefix), rows[0].group));
  sample->sample.caption_type = rows[0].value ? TYPE_YES : TYPE_NO;
  for (int64_t i = 0; i < count; i++) {
    composing_turn(sample, TURN_HUMAN);
    TRY(spool_read(&prepare->spool, rows[i].at, composing_room(sample, (size_t)rows[i].n),
                   (size_t)rows[i].n));
    composing_turn(sample, TURN_GPT);
    composing_say(sample, rows[i].value ? "Yes." : "No.");
  }
  return STATUS_OK;
}

static status_t vqa_samples_take(prepare_t *prepare, prepare_source_t *source, const gathering_t *questions) {
  SCOPED(composing_free) composing_t sample = {0};
  for (int64_t begin = 0, end; begin < questions->count; begin = end) {
    end = gathering_end(questions, begin);
    TRY(stop_vote_continue(prepare->options->vote));
    TRY(vqa_compose(prepare, questions->rows + begin, end - begin, &sample));
    TRY(sample_take(prepare, source, 0, composing_end(&sample), sample.image));
  }
  return STATUS_OK;
}

status_t source_read_vqa(prepare_t *prepare, prepare_source_t *source) {
  SCOPED(vqa_answers_free) vqa_answers_t answers = {0};
  SCOPED(gathering_free) gathering_t questions = {0};
  TRY(vqa_answers_read(prepare, source, &answers));
  TRY(vqa_questions_read(prepare, source, &answers, &questions));
  return vqa_samples_take(prepare, source, &questions);
}

/* ---- A-OKVQA ---- */

typedef struct {
  char id[100], where[160];
  int64_t image, correct;
  const json_t *question, *choices, *rationales; /* rationales may be NULL */
  size_t bytes;                                  /* of all that may be said */
  text_view_t facts[16];
  int32_t fact_count;
} choice_t;

static status_t texts_check(const json_t *list, const char *where, const char *what, size_t *bytes) {
  for (const json_t *text = list->u.first; text != NULL; text = text->next) {
    if (text->type != JSON_STRING)
      return error_set(STATUS_DATA, "%s: %s: found %s, expected strings", where, what,
                       json_type_name(text->type));
    *bytes += (size_t)text->count;
  }
  return STATUS_OK;
}

/* The rationales are the sample's facts. */
static status_t rationales_read(choice_t *choice, const json_t *element) {
  enum { FACTS_MAX = sizeof choice->facts / sizeof *choice->facts };
  if (json_get(element, "rationales") == NULL) return STATUS_OK;
  TRY(json_array(element, "rationales", choice->where, &choice->rationales));
  TRY(texts_check(choice->rationales, choice->where, "rationales", &choice->bytes));
  for (const json_t *text = choice->rationales->u.first; text != NULL && choice->fact_count < FACTS_MAX;
       text = text->next)
    choice->facts[choice->fact_count++] = (text_view_t){text->u.string, (size_t)text->count};
  return STATUS_OK;
}

static status_t choice_read(choice_t *choice, const json_t *element, int64_t index) {
  const char *text;
  *choice = (choice_t){0};
  snprintf(choice->where, sizeof choice->where, "element %" PRId64, index);
  TRY(json_string(element, "question_id", choice->where, &text));
  snprintf(choice->id, sizeof choice->id, "%s", text);
  snprintf(choice->where, sizeof choice->where, "question '%s'", choice->id);
  TRY(json_int(element, "image_id", choice->where, &choice->image));
  TRY(json_string(element, "question", choice->where, &text));
  choice->question = json_get(element, "question");
  choice->bytes = (size_t)choice->question->count;
  TRY(json_array(element, "choices", choice->where, &choice->choices));
  TRY(texts_check(choice->choices, choice->where, "choices", &choice->bytes));
  TRY(json_int(element, "correct_choice_idx", choice->where, &choice->correct));
  const int64_t count = choice->choices->count;
  if (count < 2 || count > CHOICES_MAX || choice->correct < 0 || choice->correct >= count)
    return error_set(STATUS_DATA,
                     "%s: found %" PRId64 " choices, of which number %" PRId64
                     " is right; expected 2 to %d, counted from 0",
                     choice->where, count, choice->correct, (int)CHOICES_MAX);
  return rationales_read(choice, element);
}

static void say_choice(composing_t *sample, const choice_t *choice, int64_t number) {
  const char letter[] = {(char)('A' + number), '.', ' '};
  const json_t *text = json_at(choice->choices, number);
  composing_put(sample, letter, sizeof letter);
  composing_put(sample, text->u.string, (size_t)text->count);
}

/* One of the rationales, drawn by question and seed, and what follows from it. */
static void say_rationale(composing_t *sample, const choice_t *choice, uint64_t seed) {
  const uint64_t drawn = XXH3_64bits_withSeed(choice->id, strlen(choice->id), seed);
  const json_t *text = json_at(choice->rationales, (int64_t)(drawn % (uint64_t)choice->rationales->count));
  const text_view_t said = text_strip((text_view_t){text->u.string, (size_t)text->count});
  composing_put(sample, said.bytes, said.n);
  if (said.n > 0 && strchr(".!?", said.bytes[said.n - 1]) == NULL) composing_say(sample, ".");
  composing_say(sample, " So the correct option is ");
  say_choice(sample, choice, choice->correct);
  composing_say(sample, ".");
}

static status_t choice_compose(const prepare_options_t *options, const choice_t *choice,
                               composing_t *sample) {
  enum { MORE = 256 /* bytes of letters and of our own words */ };
  TRY(composing_start(sample, 2, 3 * choice->bytes + MORE));
  snprintf(sample->id, sizeof sample->id, "aok_%s", choice->id);
  TRY(composing_coco_image(sample, text_or_none(options->coco_prefix), choice->image));
  sample->sample.caption_type = TYPE_FIRST_CHOICE + (int32_t)choice->correct;
  sample->sample.facts = choice->facts;
  sample->sample.fact_count = choice->fact_count;
  composing_turn(sample, TURN_HUMAN);
  composing_put(sample, choice->question->u.string, (size_t)choice->question->count);
  for (int64_t number = 0; number < choice->choices->count; number++) {
    composing_say(sample, "\n");
    say_choice(sample, choice, number);
  }
  composing_say(sample, options->choices_rationale ? "\nGive the reason, then the correct option."
                                                   : "\nAnswer with the correct option.");
  composing_turn(sample, TURN_GPT);
  if (options->choices_rationale)
    say_rationale(sample, choice, options->seed);
  else
    say_choice(sample, choice, choice->correct);
  return STATUS_OK;
}

static status_t choice_take(prepare_t *prepare, prepare_source_t *source, const json_element_t *element,
                            composing_t *sample) {
  choice_t choice;
  status_code_t status = choice_read(&choice, element->value, element->index);
  if (status == STATUS_OK && prepare->options->choices_rationale && choice.fact_count == 0)
    status = error_set(STATUS_DATA, "%s: has no rationale; expected one (prepare.choices_rationale)",
                       choice.where);
  if (status == STATUS_DATA) return sample_take_bad(prepare, source, source->path, element->line, choice.id);
  TRY(status);
  TRY(choice_compose(prepare->options, &choice, sample));
  return sample_take(prepare, source, element->line, composing_end(sample), sample->image);
}

status_t source_read_choices(prepare_t *prepare, prepare_source_t *source) {
  SCOPED(json_reader_close_at) json_reader_t *file = NULL;
  SCOPED(composing_free) composing_t sample = {0};
  json_element_t element;
  TRY(json_reader_open(source->path, JSON_ELEMENTS, &file));
  for (;;) {
    TRY(source_next(prepare, source->path, file, &element));
    if (element.value == NULL) return STATUS_OK;
    TRY(choice_take(prepare, source, &element, &sample));
  }
}
