/* Which tensor of which published file each weight is taken from. */
#ifndef CONVERT_MATCHING_H
#define CONVERT_MATCHING_H

#include "convert/names.h"
#include "io/tensors/tensor_file.h"
#include "model/base.h"

/* Files that weights are taken from, as a setting names them. */
typedef struct {
  const char *setting; /* "import.weights" */
  tensor_files_t *files;
  const char *prefix; /* of the weights' paths: "/weights/", "/adapters/policy/" */
  unsigned parts;     /* 1 << part_t: what is taken from here; the rest is passed over */
} origin_t;

/* A weight of the model to be written. */
typedef struct {
  char *path;           /* prefix + our name */
  const param_t *param; /* NULL: a tensor that no pass needs, kept so that an export has it */
  bool fresh;           /* has initial values where no file has it */
  const origin_t *origin;
  const tensor_entry_t *entry; /* NULL: not found yet, or fresh */
} wanted_t;

/* Names that a report or a refusal lists. */
typedef struct {
  char **items; /* (count) */
  int64_t count;
} name_list_t;

typedef struct {
  wanted_t *items; /* (count) */
  int64_t count;
  wanted_t head; /* the output head that files hold for a tied model; without an entry: they hold none */
} matching_t;

/* Adds all of PARAMS (which must outlive MATCHING) below PREFIX to what is wanted; those whose part is in
 * FRESH (1 << part_t) may be new. Local. Free with matching_free. */
status_t matching_want(matching_t *matching, const char *prefix, const params_t *params, unsigned fresh);

/* Takes from ORIGIN (which must outlive MATCHING) all that is wanted below its prefix; of a base of CONFIG
 * (NULL: something else) also what base_leaves_unused. Logs, on rank 0, what is used, kept and ignored.
 * Errors: STATUS_DATA for tensors of another shape, of a type that is no number, given twice, or that no
 * model of these sizes has: such a model would not be computed as it was meant. Local. */
status_t matching_take(matching_t *matching, const origin_t *origin, const model_config_t *config);

/* The embedding among what is wanted; NULL where no base is. Local. */
wanted_t *matching_embedding(const matching_t *matching);

/* Where the files of a tied model hold no embedding but the head, it becomes the embedding. Local. */
void matching_settle_head(matching_t *matching);

/* STATUS_DATA where something wanted was found nowhere: names it, and the tensor of ORIGINS (count) whose
 * name is nearest. Local. */
status_t matching_complete(const matching_t *matching, const origin_t *origins, int count);

void matching_free(matching_t *matching);

#endif
