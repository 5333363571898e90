#include "rollout/benchmark.h"

#include "io/json_elements.h"
#include "io/output_file.h"

#include <string.h>

static const struct {
  const char *name, *answer_key;
  bool translated;
} benchmarks[] = {
    [BENCHMARK_NONE] = {"questions", "answer", false},
    [BENCHMARK_LLAVA_BENCH] = {"LLaVA-Bench", "answer", false},
    [BENCHMARK_MMHAL] = {"MMHal-Bench", "model_answer", true},
    [BENCHMARK_AMBER] = {"AMBER", "response", true},
    [BENCHMARK_HALLUSION] = {"HallusionBench", "model_prediction", true},
    [BENCHMARK_MMBENCH] = {"MMBench", "prediction", true},
};

const char *benchmark_name(benchmark_t benchmark) {
  return benchmarks[benchmark].name;
}

const char *benchmark_answer_key(benchmark_t benchmark) {
  return benchmarks[benchmark].answer_key;
}

bool benchmark_is_translated(benchmark_t benchmark) {
  return benchmarks[benchmark].translated;
}

/* ---- Which one it is ---- */

static bool has_category_of_llava_bench(const json_t *element) {
  const json_t *category = json_get(element, "category");
  if (!category || category->type != JSON_STRING) return false;
  return strcmp(category->u.string, "conv") == 0 || strcmp(category->u.string, "detail") == 0 ||
         strcmp(category->u.string, "complex") == 0;
}

benchmark_t benchmark_of_question(const json_t *element) {
  if (json_get(element, "text") || json_get(element, "conversations"))
    return json_get(element, "text") && has_category_of_llava_bench(element) ? BENCHMARK_LLAVA_BENCH
                                                                             : BENCHMARK_NONE;
  if (json_get(element, "image_src") && json_get(element, "question")) return BENCHMARK_MMHAL;
  if (json_get(element, "query") && json_get(element, "image")) return BENCHMARK_AMBER;
  if (json_get(element, "visual_input") && json_get(element, "question")) return BENCHMARK_HALLUSION;
  return BENCHMARK_NONE;
}

static bool is_table(const char *path) {
  size_t n = strlen(path);
  return n >= 4 && strcmp(path + n - 4, ".tsv") == 0;
}

status_t benchmark_recognise(const char *path, benchmark_t *out) {
  SCOPED(json_reader_close_at) json_reader_t *reader = NULL;
  json_element_t element;
  *out = BENCHMARK_MMBENCH;
  if (is_table(path)) return STATUS_OK;
  TRY(json_reader_open(path, JSON_ELEMENTS, &reader));
  TRY(json_reader_next(reader, &element));
  *out = element.value ? benchmark_of_question(element.value) : BENCHMARK_NONE;
  return STATUS_OK;
}

/* ---- Translation ---- */

/* A question as prepare reads it; RECORD, all of it, is the last member. */
typedef struct {
  const char *image; /* NULL: none */
  const char *text;
} asked_t;

static void asked_write(json_writer_t *writer, int64_t id, const asked_t *asked, const json_t *record) {
  json_write_object_begin(writer);
  json_write_int_member(writer, "question_id", id);
  json_write_optional(writer, "image", asked->image);
  json_write_member(writer, "text", asked->text);
  json_write_key(writer, "record");
  json_write_tree(writer, record);
  json_write_object_end(writer);
  json_write_line(writer);
}

/* The image is that of image_src, an address, by its last part: so the published folder calls it. */
static status_t mmhal_translate(void *context, const json_element_t *element, const char *where) {
  asked_t asked;
  const char *source;
  TRY(json_string(element->value, "image_src", where, &source));
  TRY(json_string(element->value, "question", where, &asked.text));
  const char *slash = strrchr(source, '/');
  asked.image = slash ? slash + 1 : source;
  asked_write(context, element->index, &asked, element->value);
  return STATUS_OK;
}

static status_t amber_translate(void *context, const json_element_t *element, const char *where) {
  asked_t asked;
  int64_t id;
  TRY(json_int(element->value, "id", where, &id));
  TRY(json_string(element->value, "image", where, &asked.image));
  TRY(json_string(element->value, "query", where, &asked.text));
  asked_write(context, id, &asked, element->value);
  return STATUS_OK;
}

/* Without visual input there is none; else CATEGORY/SUBCATEGORY/SET_FIGURE.png. */
static status_t hallusion_translate(void *context, const json_element_t *element, const char *where) {
  char image[1024];
  const char *input, *category, *subcategory, *set, *figure;
  asked_t asked = {0};
  TRY(json_string(element->value, "visual_input", where, &input));
  TRY(json_string(element->value, "category", where, &category));
  TRY(json_string(element->value, "subcategory", where, &subcategory));
  TRY(json_string(element->value, "set_id", where, &set));
  TRY(json_string(element->value, "figure_id", where, &figure));
  TRY(json_string(element->value, "question", where, &asked.text));
  if (strcmp(input, "0") != 0) {
    if (snprintf(image, sizeof image, "%s/%s/%s_%s.png", category, subcategory, set, figure) >=
        (int)sizeof image)
      return error_set(STATUS_DATA, "%s: the name of its image is too long", where);
    asked.image = image;
  }
  asked_write(context, element->index, &asked, element->value);
  return STATUS_OK;
}

static status_t translate_to(benchmark_t benchmark, const char *path, json_writer_t *writer,
                             const char *images, bool circular, bool *stored) {
  static const json_visit_t visits[] = {[BENCHMARK_MMHAL] = mmhal_translate,
                                        [BENCHMARK_AMBER] = amber_translate,
                                        [BENCHMARK_HALLUSION] = hallusion_translate};
  if (benchmark == BENCHMARK_MMBENCH) return mmbench_translate(path, writer, images, circular, stored);
  return json_elements_visit(path, visits[benchmark], writer);
}

status_t benchmark_translate(benchmark_t benchmark, const char *path, const char *output, const char *images,
                             bool circular, bool *stored) {
  output_file_t file;
  *stored = false;
  TRY(output_file_open(output, &file));
  return output_file_close(&file, translate_to(benchmark, path, file.writer, images, circular, stored));
}
