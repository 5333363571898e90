#include "shapes/annotate.h"

#include "base/random.h"
#include "io/json_elements.h"
#include "io/output_file.h"
#include "shapes/judge.h"
#include "shapes/scene_file.h"

#include <stdio.h>
#include <string.h>

/* Above 0 where the first is better, below where the second is, 0 where there is nothing to choose. */
static int judgement_compare(const judgement_t *first, const judgement_t *second) {
  int wrong = (second->claims - second->right) - (first->claims - first->right);
  if (wrong != 0) return wrong;
  if (first->given != second->given) return first->given - second->given;
  if (first->right < first->claims) return 0; /* wrong alike: the shorter is no better */
  /* Neither says anything wrong or asked for: better something readable than nothing. */
  bool silent = first->claims == 0, other_silent = second->claims == 0;
  if (silent != other_silent) return silent ? -1 : 1;
  return second->words - first->words;
}

int annotate_pair(const annotator_t *annotator, const scene_t *scene, const char *question, const char *first,
                  const char *second, int64_t pair, annotation_counts_t *counts) {
  judgement_t one, two;
  judge_response(scene, question, first, &one);
  judge_response(scene, question, second, &two);
  random_words_t words = random_words(annotator->seed, RANDOM_ANNOTATE, (uint64_t)pair, 0);
  int order = judgement_compare(&one, &two);
  if (counts) counts->pairs++;
  if (counts) counts->ties += order == 0;
  if (order == 0) return 0;
  int preference = order > 0 ? 1 : 2;
  bool noisy = random_open_unit(words.v[0]) < annotator->noise;
  if (noisy) preference = 3 - preference;
  if (!counts) return preference;
  counts->noisy += noisy;
  counts->first += preference == 1;
  return preference;
}

static status_t last_question(const json_t *pair, const char *where, const char **out) {
  const json_t *conversations;
  *out = NULL;
  TRY(json_array(pair, "conversations", where, &conversations));
  for (const json_t *turn = conversations->u.first; turn; turn = turn->next) {
    const char *from, *value;
    TRY(json_string(turn, "from", where, &from));
    TRY(json_string(turn, "value", where, &value));
    if (strcmp(from, "human") == 0) *out = value;
  }
  if (!*out) return error_set(STATUS_DATA, "%s: field 'conversations': found no turn from 'human'", where);
  return STATUS_OK;
}

static status_t annotate_read_output(const json_t *pair, const char *key, const char *where,
                                     const char **value) {
  const json_t *output;
  TRY(json_object(pair, key, where, &output));
  return json_string(output, "value", where, value);
}

/* A file of pairs under way. */
typedef struct {
  const annotator_t *annotator;
  const scene_table_t *scenes;
  json_writer_t *writer;
  annotation_counts_t *counts;
} annotating_t;

static void annotate_write(json_writer_t *writer, const json_t *pair, int preference) {
  json_write_line(writer);
  json_write_object_begin(writer);
  for (const json_t *member = pair->u.first; member; member = member->next) {
    if (strcmp(member->key, "preference") == 0) continue;
    json_write_key(writer, member->key);
    json_write_tree(writer, member);
  }
  json_write_int_member(writer, "preference", preference);
  json_write_object_end(writer);
}

static status_t annotate_element(void *context, const json_element_t *element, const char *where) {
  const annotating_t *annotating = context;
  const json_t *pair = element->value;
  const char *image, *question, *first, *second;
  TRY(stop_vote_continue(annotating->annotator->vote));
  TRY(json_string(pair, "image", where, &image));
  TRY(last_question(pair, where, &question));
  TRY(annotate_read_output(pair, "output_1", where, &first));
  TRY(annotate_read_output(pair, "output_2", where, &second));
  const scene_t *scene = scene_table_find(annotating->scenes, image);
  if (!scene)
    return error_set(STATUS_DATA,
                     "%s: field 'image': '%s' is in none of the scenes; give the scenes.jsonl that was "
                     "written with the images",
                     where, image);
  int preference = annotate_pair(annotating->annotator, scene, question, first, second, element->index,
                                 annotating->counts);
  if (preference != 0) annotate_write(annotating->writer, pair, preference);
  return STATUS_OK;
}

static status_t annotate_opened(const annotator_t *annotator, const scene_table_t *scenes, const char *pairs,
                                const char *output, annotation_counts_t *counts) {
  output_file_t file;
  TRY(output_file_open(output, &file));
  annotating_t annotating = {annotator, scenes, file.writer, counts};
  json_write_array_begin(file.writer);
  status_code_t status = json_elements_visit(pairs, annotate_element, &annotating);
  json_write_line(file.writer);
  json_write_array_end(file.writer);
  json_write_line(file.writer);
  return output_file_close(&file, status);
}

status_t annotate_file(const annotator_t *annotator, const char *pairs, const char *scenes,
                       const char *output, annotation_counts_t *counts) {
  scene_table_t table;
  memset(counts, 0, sizeof *counts);
  TRY(scene_table_read(scenes, &table));
  status_code_t status = annotate_opened(annotator, &table, pairs, output, counts);
  scene_table_free(&table);
  return status;
}
