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

/* The members of the objects that are open, those of an outer one first, and where to look for a key. */
typedef struct {
  json_t **nodes; /* (count) */
  size_t count;
  size_t begin[JSON_MAX_DEPTH]; /* of each open container */
  size_t *slots;                /* (slot_count), a power of two: number of a member, or SIZE_MAX */
  size_t slot_count;
} json_members_t;

/* Follows the escapes of a text, whose surrogates YAJL does not check. All zero to begin with. */
typedef struct {
  int place; /* of the next character in an escape: 0 outside, 1 behind the backslash, 2..5 digits of \u */
  unsigned code; /* of the digits so far */
  bool high;     /* the first half of a surrogate pair waits for the second */
} json_escapes_t;

/* Reads on through TEXT (n bytes); false, and *AT its place, where half a surrogate pair stands alone. */
bool json_escapes_whole(json_escapes_t *escapes, const unsigned char *text, size_t n, size_t *at);
extern const char json_half_pair[]; /* what to say then */

/* False where TEXT (n bytes) has a vertical tab or a form feed, which JSON has nowhere and YAJL takes for
 * blanks; *AT is the first. */
bool json_blanks_valid(const unsigned char *text, size_t n, size_t *at);
extern const char json_odd_blank[]; /* what to say then */

/* Builds one value from YAJL's events. Of members of one name the last counts, in the place of the first, as
 * Python reads it. */
typedef struct {
  json_storage_t storage;
  size_t max_bytes;
  json_t *root;                 /* NULL until the value starts */
  json_t *open[JSON_MAX_DEPTH]; /* containers that are not closed yet */
  json_t *last[JSON_MAX_DEPTH]; /* the last child of each, NULL if none */
  int depth;
  json_members_t members;
  bool unique;       /* a repeated member is refused */
  int64_t repeated;  /* members that a later one of the same name has replaced */
  char *key;         /* of the next member */
  bool done;         /* the value is complete */
  char problem[160]; /* why an event was refused */
  bool memory_out;   /* there was no memory for it: the thread's error message says so */
} json_builder_t;

/* What YAJL calls, CONTEXT being the builder. Each returns 0 with PROBLEM set where the event is refused. */
int json_build_null(void *context);
int json_build_bool(void *context, int value);
int json_build_number(void *context, const char *text, size_t n);
int json_build_string(void *context, const unsigned char *text, size_t n);
int json_build_key(void *context, const unsigned char *text, size_t n);
int json_build_object(void *context);
int json_build_array(void *context);
int json_build_end(void *context); /* of an object or array */
/* Forgets the value: the caller has taken root and storage, or does not want them. */
void json_build_reset(json_builder_t *builder);
/* Frees what the builder keeps from value to value, and a value that is not complete. */
void json_build_free(json_builder_t *builder);

/* What YAJL says about its last error, without line ends, in MESSAGE (capacity bytes). */
void json_yajl_message(yajl_handle yajl, char *message, size_t capacity);

#endif
