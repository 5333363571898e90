/* What the files of a pass share; nobody else includes this. */
#ifndef MODEL_PASS_INTERNAL_H
#define MODEL_PASS_INTERNAL_H

#include "model/cache.h"
#include "model/linear.h"
#include "model/pass.h"
#include "model/tower.h"

/* Activations of one decoder layer; T rows, local shares of heads and MLP. */
typedef struct {
  real_t *n1;              /* (T, C) after the input norm */
  real_t *q;               /* (T, H*D) after rotation */
  real_t *k, *v;           /* (T, K*D) */
  real_t *attended;        /* (T, H*D) */
  real_t *mid;             /* (T, C) after the attention's residual */
  real_t *n2;              /* (T, C) */
  real_t *gate, *up, *act; /* (T, F) */
  wide_t *rstd1, *rstd2;   /* (T) */
  wide_t *lse;             /* (T, H) */
  real_t *u[PROJ_COUNT];   /* (T, r): scaled x A^T, where an adapter has that target */
} pass_saved_t;

/* Scratch of the heads: for ROWS hidden states at once, and for the logits of LOGIT_ROWS of them, which are
 * far larger. */
typedef struct {
  int64_t rows;             /* N */
  real_t *hidden, *dhidden; /* (N, C) */
  wide_t *value, *dvalue;   /* (N): of the scalar head, or log-probabilities */
  real_t *dvalue_real;      /* (N): dvalue in the compute type */
  index_t *index;           /* (N) */
  int64_t logit_rows;       /* n, at most pass_logit_rows */
  wide_t *logits;           /* (n, vocab_rows) */
  real_t *dlogits;          /* (n, vocab_rows), made when first needed */
  wide_t *max, *sums;       /* (n), (n, 3) */
  wide_t *entropy;          /* (n) */
  index_t *targets;         /* (n) */
  double *chunk;            /* (CHUNK_COLUMNS, n), host */
  bool *hits;               /* (n), host */
} pass_head_t;

/* Host arrays of a chunk: log-probabilities, entropies, their gradient, three sums. */
enum { CHUNK_COLUMNS = 6 };

struct pass {
  base_t *base;
  device_t *device;
  const grid_t *grid;
  pass_options_t options;
  tower_pass_t *tower;
  /* Buffers, for CAPACITY rows. */
  int64_t capacity;
  int32_t sets;        /* pass_saved_t sets: layers where all are kept, else 1 */
  int32_t input_count; /* layer inputs: layers + 1 where kept, else 2 */
  int32_t lora_r;      /* rank that the u buffers are made for, 0 = none */
  bool backward;       /* backward scratch is there */
  pass_saved_t *saved;
  real_t **inputs; /* (T, C) each */
  real_t *final;   /* (T, C) after the final norm */
  wide_t *final_rstd;
  index_t *tokens, *positions, *slots, *image_rows; /* (T) */
  index_t *offsets;                                 /* (T + 1) */
  index_t *pages, *lengths;                         /* decode; grown apart */
  int64_t pages_capacity;
  real_t *dfinal, *dx, *dn, *dattended, *dq, *dk, *dv, *dact, *du; /* backward scratch */
  int32_t *image_rows_host;                                        /* (T) */
  /* Images, grown apart. */
  real_t *image_tokens;                    /* (N * P, C): all images of the batch */
  real_t *dimage;                          /* (share * P, C) */
  index_t *dimage_rows;                    /* (share * P): where gradients are gathered from */
  int32_t *dimage_rows_host, *dimage_seen; /* (share * P), (share) */
  int64_t image_capacity, dimage_capacity; /* rows */
  size_t *tp_counts;                       /* (tp): what each rank brings to a gather */
  pass_head_t head;
  /* The pass in progress. */
  role_t role;
  int64_t rows; /* T */
  bool kept, recomputing;
  bool decode;
  int32_t max_pages;
  double pairs; /* query-key pairs per head, for FLOPs */
  cache_t *cache;
  const packed_t *packed; /* valid until pass_backward: the caller keeps it */
  int32_t images, image_begin, image_share;
};

/* Buffers for ROWS rows under ROLE. */
status_t pass_ensure(pass_t *pass, const role_t *role, int64_t rows, bool keep);

linear_context_t pass_context(const pass_t *pass);

/* One decoder layer: inputs[index] -> inputs[index + 1] as pass_input orders them. */
status_t pass_layer_forward(pass_t *pass, int32_t index, const real_t *x, real_t *out);
/* pass->dx: gradient at the layer's output on entry, at its input on return (not computed if !NEED_INPUT). */
status_t pass_layer_backward(pass_t *pass, int32_t index, const real_t *x, bool need_input);

/* Takes the images of the pass in progress: checks them, shares them over the tp group and makes all buffers
 * for them, before anything collective. Local. */
status_t pass_images_begin(pass_t *pass, const pass_images_t *images, bool keep);
/* Image tokens of the batch into pass->image_tokens, and their rows of the embedded sequence X. */
status_t pass_images_forward(pass_t *pass, const pass_images_t *images, bool keep, real_t *x);
/* From pass->dx at image slots to projector and tower. */
status_t pass_images_backward(pass_t *pass);
void pass_images_free(pass_t *pass);

void pass_head_free(pass_t *pass);

#endif
