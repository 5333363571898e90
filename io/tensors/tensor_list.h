/* Inside io/tensors: what the readers of single files look at and fill in. */
#ifndef IO_TENSOR_LIST_H
#define IO_TENSOR_LIST_H

#include "io/tensors/tensor_file.h"

/* A file that is being listed or read. */
typedef struct {
  char *path;
  int descriptor;
  int64_t size; /* bytes, when it was opened */
} tensor_source_t;

/* Opens PATH, a regular file. Close with tensor_source_close. Errors: STATUS_DATA. Local. */
status_t tensor_source_open(const char *path, tensor_source_t *source);
void tensor_source_close(tensor_source_t *source);

/* Reads N bytes from byte PLACE on. Errors: STATUS_DATA (the file ends before, disk). Local, thread-safe. */
status_t tensor_source_read(const tensor_source_t *source, void *bytes, size_t n, int64_t place);

/* A tensor and where its elements are: element (i, j, ...) at ENTRY.place + (i * stride[0] + ...) * size. */
typedef struct {
  tensor_entry_t entry;            /* first, so that an entry leads to its record */
  int64_t stride[TENSOR_MAX_DIMS]; /* elements, none negative */
  int64_t end;                     /* byte of the file behind its last element */
  int64_t source;                  /* number of its file in the set */
  size_t name_at;                  /* in NAMES */
} tensor_record_t;

typedef struct {
  tensor_record_t *records; /* (count) */
  int64_t count;
  size_t capacity;
  char *names;
  size_t names_used, names_capacity;
} tensor_list_t;

/* Makes room in *ARRAY, whose elements have SIZE bytes, for NEEDED of them; *CAPACITY grows by doubling. */
status_t tensor_array_grow(void *array, size_t needed, size_t *capacity, size_t size);

/* Appends RECORD, whose name is NAME (n bytes) and whose entry.name is set later. Errors: STATUS_MEMORY. */
status_t tensor_list_add(tensor_list_t *list, const char *name, size_t n, const tensor_record_t *record);

/* The name of a record, before and after its entry has it. */
const char *tensor_list_name(const tensor_list_t *list, const tensor_record_t *record);
void tensor_list_free(tensor_list_t *list);

/* Sets stride, contiguous, elements and end of RECORD for elements stored in row-major order from entry.place
 * on; false where they do not fit into 63 bits. */
bool tensor_record_plain(tensor_record_t *record);

#endif
