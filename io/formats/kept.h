/* Finished samples of a task that makes them one by one, kept beside its output until that is complete: a
 * start after a stop, or after a kill at any moment, takes them over, on any number of ranks, and makes the
 * missing ones only.
 *
 * They lie in the folder PATH.kept, where PATH is the output. Each rank that writes has a file of its own in
 * it, to which it appends a record as soon as a sample is finished: hash, key, length (8 bytes each, in the
 * machine's order), then LENGTH bytes that mean what the task says. Its first record, of key -1, is the
 * identity: what the samples depend on, as text. A record that is cut off, or does not have its hash, and
 * what lies behind it are as if they had never been written. Layout: docs/files.md. */
#ifndef IO_KEPT_H
#define IO_KEPT_H

#include "base/memory_pool.h"
#include "io/file.h"
#include "parallel/exchange.h"

typedef struct kept kept_t;

typedef struct {
  const char *path;     /* of the output */
  const char *identity; /* lines "name = value" of all that the samples depend on, but for their keys */
  const char *what;     /* what a sample is called in messages: "answers" */
  bool routine;         /* other samples than of this identity are to be expected, and are removed; otherwise
                           they are set aside, as PATH.kept.other */
  comm_t *readers; /* ranks that share out what is there, each another part; NULL: every rank has all. Its
                      ranks may belong to several such communicators, all of one size (dp groups whose tp
                      ranks all read what their group does) */
  bool writes;     /* this rank appends: one rank of those that finish a sample together */
} kept_options_t;

/* Finds what earlier starts have kept, and says in the log how much, or why not: for what the disk refuses is
 * a warning, and those samples are made again. Makes nothing yet. Collective on COMM. Free with kept_close.
 * Errors, agreed: STATUS_MEMORY. */
status_t kept_open(comm_t *comm, const kept_options_t *options, kept_t **out);

/* Ends it; what is kept stays. NULL is fine. Local. */
void kept_close(kept_t *kept);
SCOPED_POINTER(kept_close, kept_t)

/* Removes all that is kept: the output is complete. *KEPT is closed, and NULL. NULL is fine. What the disk
 * refuses is a warning. Collective on kept_open's COMM. */
status_t kept_remove(kept_t **kept);

/* The two halves of it, where several outputs are kept until the last one is complete: says what it has come
 * to and closes it; removes what is kept beside PATH, which no rank has open. Collective. */
status_t kept_finish(kept_t **kept);
status_t kept_drop(comm_t *comm, const char *path);

/* Samples that earlier starts have kept (of all ranks); those that this start has added to them, on this
 * rank. NULL has none. Local. */
int64_t kept_found(const kept_t *kept);
int64_t kept_added(const kept_t *kept);

/* A start ends before all TOTAL samples are there: says in the log how many are kept for the next one.
 * *GAINED becomes true where this start has added some, and else stays as it is. NULL says nothing.
 * Collective on kept_open's COMM. */
status_t kept_tell(const kept_t *kept, int64_t total, bool *gained);

/* The sample KEY as this rank has it: *BYTES (n), the caller's to free with memory_free; NULL where it is not
 * there, or can no longer be read. Local. */
status_t kept_read(kept_t *kept, int64_t key, void **bytes, size_t *n);

/* What is kept of some samples, in memory. */
typedef struct {
  kept_t *kept;
  int64_t n;
  int32_t *there;         /* (n): 1 where the sample is kept; the same on all ranks */
  int32_t *holder;        /* (n): the reader that has it; readers' size: none */
  exchange_item_t *items; /* (n): what this rank has */
  memory_pool_t pool;     /* of all that */
} kept_loaded_t;

/* Loads what is kept of KEYS (n), the same on all ranks. There are READERS. Collective on kept_open's COMM.
 * Free with kept_loaded_free. Errors: STATUS_MEMORY, agreed; STATUS_COMM. */
status_t kept_load(kept_t *kept, const int64_t *keys, int64_t n, kept_loaded_t *out);
void kept_loaded_free(kept_loaded_t *loaded);

/* Moves what is THERE to the readers OWNER (n), the same on all ranks: an item of number i each in RESULT,
 * freed with exchange_free. Once. Collective on READERS. Errors: as exchange_items. */
status_t kept_deal(kept_loaded_t *loaded, const int32_t *owner, exchange_t *result);

/* Appends the sample KEY (>= 0), N bytes, at once: whole, or after an error not at all. A disk that refuses
 * it is a warning; this rank keeps nothing from then on. Other ranks than those that write, and NULL, do
 * nothing. Local. */
void kept_append(kept_t *kept, int64_t key, const void *bytes, size_t n);

#endif
