/* Inside io: what the parser of small texts and the streaming reader share. */
#ifndef IO_JSON_BUILD_H
#define IO_JSON_BUILD_H

#include "io/json.h"

#include <yajl/yajl_parse.h>

/* A chain of blocks that a tree's nodes and texts are cut from. */
typedef struct json_block json_block_t;

typedef struct {
  json_block_t *blocks;
  size_t bytes;
} json_storage_t;

void json_storage_free(json_block_t *blocks);

/* Builds one value from YAJL's events. */
typedef struct {
  json_storage_t storage;
  size_t max_bytes;
  json_t *root;                 /* NULL until the value starts */
  json_t *open[JSON_MAX_DEPTH]; /* containers that are not closed yet */
  json_t *last[JSON_MAX_DEPTH]; /* the last child of each, NULL if none */
  int depth;
  char *key;         /* of the next member */
  bool done;         /* the value is complete */
  char problem[160]; /* why an event was refused */
  bool memory_out;   /* there was no memory for it: the thread's error message says so */
} json_builder_t;

/* Each returns false with PROBLEM set where the event is refused. */
bool json_build_value(json_builder_t *builder, json_type_t type, json_t **node);
bool json_build_string(json_builder_t *builder, const unsigned char *text, size_t n);
bool json_build_number(json_builder_t *builder, const char *text, size_t n);
bool json_build_key(json_builder_t *builder, const unsigned char *text, size_t n);
bool json_build_open(json_builder_t *builder, json_type_t type);
void json_build_close(json_builder_t *builder);
/* Forgets the value: the caller has taken root and storage, or does not want them. */
void json_build_reset(json_builder_t *builder);

/* A copy of TEXT with '\0' behind it in STORAGE; NULL without memory. */
char *json_storage_text(json_storage_t *storage, const unsigned char *text, size_t n);

/* What YAJL says about its last error, without line ends, in MESSAGE (capacity bytes). */
void json_yajl_message(yajl_handle yajl, char *message, size_t capacity);

#endif
