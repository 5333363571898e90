/* JSON as a tree, written and read back, and the same bytes as a file that is read element by element. */
#include "fuzz.h"

#include "base/memory.h"
#include "io/json.h"

#include <string.h>

static const char *path;

void fuzz_start(void) {
  path = fuzz_path("x.json");
}

static char *written(const json_t *tree) {
  json_writer_t *writer;
  char *text = NULL;
  FUZZ_EXPECT(json_writer_create(NULL, &writer) == STATUS_OK);
  json_write_tree(writer, tree);
  FUZZ_EXPECT(json_writer_finish(writer, &text, NULL) == STATUS_OK);
  return text;
}

/* What is written of TREE is read back as the same. */
static void write_back(const json_t *tree) {
  json_document_t again;
  char *first = written(tree);
  FUZZ_EXPECT(json_parse(first, strlen(first), "written", &again) == STATUS_OK);
  char *second = written(again.root);
  FUZZ_EXPECT(strcmp(first, second) == 0);
  json_free(&again);
  memory_free(first);
  memory_free(second);
}

/* TREE, of the whole file (NULL: it is not valid, or not to be compared), has the elements that the reader
 * hands out. */
static void stream(json_stream_t kind, const json_t *tree) {
  json_reader_t *reader;
  json_element_t element = {0};
  json_type_t type = kind == JSON_MEMBERS ? JSON_OBJECT : JSON_ARRAY;
  int64_t count = 0;
  status_code_t status = json_reader_open(path, kind, &reader);
  if (status == STATUS_OK) {
    while ((status = json_reader_next(reader, &element)) == STATUS_OK && element.value != NULL)
      count++;
    json_reader_close(reader);
  }
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  if (tree == NULL || tree->type != type) return;
  FUZZ_EXPECT(status == STATUS_OK);
  /* A key that is repeated is handed out each time, but stands in a tree once. */
  FUZZ_EXPECT(kind == JSON_MEMBERS ? count >= tree->count : count == tree->count);
}

/* Items of the two lists of an object. TREE: of the whole file, or NULL. */
static void lists(const json_t *tree) {
  json_reader_t *reader;
  json_element_t element = {0};
  int64_t count = 0;
  status_code_t status = json_reader_open_list(path, "a", "b", &reader);
  if (status == STATUS_OK) {
    while ((status = json_reader_next(reader, &element)) == STATUS_OK && element.value != NULL) {
      FUZZ_EXPECT(strcmp(element.key, "a") == 0 || strcmp(element.key, "b") == 0);
      count++;
    }
    json_reader_close(reader);
  }
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  if (status != STATUS_OK || tree == NULL) return;
  /* Lists under a key that is repeated are handed out each time, but the last of them stands in the tree. */
  const json_t *a = json_get(tree, "a"), *b = json_get(tree, "b");
  FUZZ_EXPECT(count >= (a != NULL ? a->count : 0) + (b != NULL ? b->count : 0));
}

void fuzz_one(const uint8_t *bytes, size_t n) {
  json_document_t document = {0};
  status_code_t status = json_parse((const char *)bytes, n, "fuzz", &document);
  FUZZ_EXPECT(status == STATUS_OK || status == STATUS_DATA);
  const json_t *tree = status == STATUS_OK ? document.root : NULL;
  if (tree != NULL) write_back(tree);
  fuzz_write(path, bytes, n);
  stream(JSON_ELEMENTS, tree);
  stream(JSON_MEMBERS, tree);
  lists(tree);
  if (status == STATUS_OK) json_free(&document);
  error_clear();
}
