/* Models in files: weights with configuration and tokenizer, or adapters and heads with a reference to their
 * base. Format "llava_rlhf_model". */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "io/formats/checkpoint.h"
#include "model/base.h"
#include "text/tokenizer.h"

extern const h5_format_t store_format;
enum { STORE_ROLES_MAX = 8, STORE_ROLE_NAME_MAX = 32 };

/* How a reward head is asked: what it reads behind a conversation (session/reward_prompt.h). Attributes
 * facts, prompt and prompt_source of the group /heads/reward. */
typedef struct {
  bool facts;         /* facts are shown */
  const char *prompt; /* the judging prompt */
  const char *source; /* its file, or what to call it; for people */
} store_judging_t;

/* What a file holds. */
typedef struct {
  char *path; /* of this file */
  bool has_weights;
  bool outline;    /* the base has no numbers (io/formats/weights_blocks.h): for dry runs */
  char *base_path; /* where the weights are: path itself, or the file that the reference leads to */
  uint64_t
      identity;   /* of the base: a hash of its weights' hashes (weights_identity) and its configuration's */
  uint64_t added; /* the same of this file's adapters and heads, with rank and scale */
  model_config_t config; /* of the base */
  char adapters[STORE_ROLES_MAX][STORE_ROLE_NAME_MAX];
  adapter_config_t adapter_configs[STORE_ROLES_MAX];
  int32_t adapter_count;
  char heads[STORE_ROLES_MAX][STORE_ROLE_NAME_MAX];
  int32_t head_count;
  store_judging_t judging; /* of the head "reward"; all zero without one. The texts are this struct's */
  char *tokenizer_bytes;   /* of the base file */
  int64_t tokenizer_size;
  char *published; /* of the base file (session/published.h); NULL: none */
} store_info_t;

/* Reads what PATH holds. A file without weights refers to a base, by a path and an identity: BASE (NULL:
 * none), which has been inspected, is taken if it is of that identity; otherwise the base is looked for where
 * it was, beside this file, and in the same place relative to it. Collective on COMM. Free with
 * store_info_free. Errors, agreed: STATUS_DATA. */
status_t store_inspect(comm_t *comm, const char *path, const store_info_t *base, store_info_t *info);
void store_info_free(store_info_t *info);

/* Index of a role among the file's adapters or heads, -1 if it is not there. NAMES as in store_info_t. */
int32_t store_find(const char names[][STORE_ROLE_NAME_MAX], int32_t count, const char *role);

/* Fills the weights of BASE (created with the file's config) from INFO's base, which may hold more of the
 * kinds that base_leaves_unused takes: the log names those. Collective on COMM. Errors, agreed: STATUS_DATA.
 */
status_t store_load_base(comm_t *comm, const store_info_t *info, base_t *base);
/* Fills a set from PATH's datasets below PREFIX ("/adapters/policy/", "/heads/value/"). Collective on COMM.
 */
status_t store_load_params(comm_t *comm, const char *path, const char *prefix, params_t *params);
/* The identity that a file would have whose only datasets were PARAMS below PREFIX ("/adapters/policy/"): a
 * name of weights that are in memory, whatever the layout. Collective on COMM. Errors, agreed. */
status_t store_params_identity(comm_t *comm, const char *prefix, const params_t *params, uint64_t *identity);

/* What to write. Anything may be absent. */
typedef struct {
  const base_t *base; /* configuration always; its weights where WEIGHTS */
  bool weights;
  const char *base_path; /* otherwise the reference: path and identity */
  uint64_t base_identity;
  const void *tokenizer_bytes; /* stored with weights */
  int64_t tokenizer_size;
  const char *published; /* stored with weights (session/published.h); NULL: none */
  const char *adapter_names[STORE_ROLES_MAX];
  const adapter_t *adapters[STORE_ROLES_MAX];
  int32_t adapter_count;
  const char *head_names[STORE_ROLES_MAX];
  const head_t *heads[STORE_ROLES_MAX];
  int32_t head_count;
  store_judging_t judging; /* of the head "reward", which cannot be without; the texts are the caller's */
  /* A checkpoint adds datasets of its own and annotations. */
  const weights_item_t *extra;
  int64_t extra_count;
  status_t (*annotate)(h5_file_t *file, void *context);
  void *context;
  weights_disk_t disk; /* how the data reach it */
} store_contents_t;

/* What a file of CONTENTS (store_contents_t) has besides tensors, of which nothing but sizes is looked at:
 * for weights_spec_t's annotate. */
status_t store_annotate(h5_file_t *file, void *contents);
/* What a dataset of this path holds, in words. Local. */
const char *store_meaning(const char *path);

/* Writes PATH in one instant (io/formats/weights.h). Collective on COMM. */
status_t store_write(comm_t *comm, const char *path, const store_contents_t *contents);
/* Begins to write the checkpoint of PLACE in RUN_DIR (io/formats/checkpoint.h: checkpoint_write_begin).
 * Collective on COMM. */
status_t store_checkpoint(comm_t *comm, const char *run_dir, const checkpoint_place_t *place,
                          const store_contents_t *contents, checkpoint_writing_t **writing);

#endif
