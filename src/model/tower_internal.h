/* What the files of the tower share; nobody else includes this. */
#ifndef MODEL_TOWER_INTERNAL_H
#define MODEL_TOWER_INTERNAL_H

#include "model/tower.h"
#include "tensor/sequences.h"
#include "tensor/workspace.h"

/* Activations of one tower layer for T = count * config_tower_tokens rows, C = vision hidden, F = vision MLP.
 */
typedef struct {
  real_t *x;                             /* (T, C) input */
  real_t *n1;                            /* (T, C) after layer_norm1 */
  real_t *q, *k, *v;                     /* (T, C) */
  real_t *attended;                      /* (T, C) */
  real_t *mid;                           /* (T, C) after the attention's residual */
  real_t *n2;                            /* (T, C) */
  real_t *pre;                           /* (T, F) before the activation */
  real_t *hidden;                        /* (T, F) */
  wide_t *mean1, *rstd1, *mean2, *rstd2; /* (T) */
  wide_t *lse;                           /* (T, heads) */
} tower_saved_t;

struct tower_pass {
  device_t *device;
  const base_t *base; /* of the call */
  workspace_t workspace;
  /* Images, and each one's patches and tokens, that the index arrays are for. */
  int32_t indexed, indexed_patches, indexed_tokens;
  /* Features and projector. */
  real_t *features;                     /* (count * P, C) */
  real_t *project_pre, *project_hidden; /* (count * P, hidden): mlp projector */
  real_t *dproject;                     /* (count * P, hidden) */
  /* The tower itself. */
  int32_t layers;       /* that the array is for */
  tower_saved_t *saved; /* (layers), of which all are used where kept, else the first */
  real_t *patches;      /* (count * P, patch size) */
  real_t *embedded;     /* (T, C) before pre_layrnorm; CLIP's, as its norm's two and the class index */
  real_t *out;          /* (T, C) of the last layer */
  real_t *patch_rows;   /* (count * P, C) */
  wide_t *mean0, *rstd0;
  real_t *dx, *dn, *dq, *dk, *dv; /* (T, C) backward scratch */
  real_t *dhidden;                /* (T, F) */
  index_t *patch_index;           /* (count * P): row of each patch in T */
  index_t *class_index;           /* (T): 0 at class rows, else -1 */
  int32_t *offsets_host, *patch_index_host, *class_index_host;
  sequences_t sequences; /* images are */
  /* The pass in progress. */
  int32_t count;
  const real_t *used_features; /* what the projector read */
};

#endif
