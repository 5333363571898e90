/* What the files of a pass share; nobody else includes this. A pass is memory that lives from call to call
 * (two workspaces, of the layers and of the heads) and the call in progress. */
#ifndef MODEL_PASS_INTERNAL_H
#define MODEL_PASS_INTERNAL_H

#include "model/cache.h"
#include "model/linear.h"
#include "model/pass.h"
#include "model/tower.h"
#include "tensor/event.h"
#include "tensor/sequences.h"
#include "tensor/workspace.h"

/* What one forward pass is given, and its backward pass with it. */
typedef struct {
  device_t *device;
  const grid_t *grid;
  role_t role;
  int64_t rows;                /* T */
  bool keep;                   /* a backward pass comes */
  recompute_t recompute;       /* what it runs again */
  const packed_t *packed;      /* NULL in a decode step; valid until pass_backward: the caller keeps it */
  int32_t sequences;           /* of a packed batch; 0 in a decode step */
  const sequences_t *prepared; /* the packed ones, for attention */
  cache_t *cache;              /* NULL: keys and values go nowhere else */
  int32_t max_pages;           /* of a sequence, in a decode step */
  int64_t cached;              /* positions of all sequences, in a decode step */
  const index_t *tokens, *positions, *slots; /* (T): the pass's own, or the caller's in a decode step */
  const index_t *pages, *lengths;            /* (T, max pages), (T): the caller's, in a decode step */
  int32_t images, image_begin, image_share;
} pass_call_t;

/* Projections that read the same input are made together, side by side. */
typedef enum { GROUP_QKV, GROUP_O, GROUP_GATE_UP, GROUP_DOWN, GROUP_COUNT } group_t;

/* How many projections of GROUP have an adapter in ROLE. Local. */
int32_t pass_adapters(const role_t *role, group_t group);

/* Activations of one decoder layer; T rows, local shares of heads and MLP. What a pass that runs layers again
 * does not keep (pass_options_t) is shared by all layers. */
typedef struct {
  real_t *n1;             /* (T, C) after the input norm */
  real_t *qkv;            /* (T, (H + 2K) * D) after rotation */
  real_t *attended;       /* (T, H*D) */
  real_t *mid;            /* (T, C) after the attention's residual */
  real_t *n2;             /* (T, C) */
  real_t *gate_up;        /* (T, 2F) */
  real_t *act;            /* (T, F) */
  wide_t *rstd1, *rstd2;  /* (T) */
  wide_t *lse;            /* (T, H) */
  real_t *u[GROUP_COUNT]; /* (T, adapters of the group * r): x A^T */
} pass_saved_t;

/* Buffers of a call: pass_describe says how large each is. */
typedef struct {
  int32_t layers;      /* that the two arrays are for */
  pass_saved_t *saved; /* (layers); without a backward pass the first is used */
  real_t **inputs;     /* (layers + 1), (T, C) each: all used where kept, else two in turn */
  real_t *final;       /* (T, C) after the final norm */
  wide_t *final_rstd;
  index_t *tokens, *positions, *slots, *image_rows;        /* (T) */
  real_t *dfinal, *dx, *dn, *dattended, *dqkv, *dact, *du; /* backward scratch */
  int32_t *image_rows_host;                                /* (T) */
  real_t *image_tokens;                                    /* (N * P, C): all images of the batch */
  real_t *dimage;                                          /* (share * P, C) */
  index_t *dimage_rows;                    /* (share * P): where gradients are gathered from */
  int32_t *dimage_rows_host, *dimage_seen; /* (share * P), (share) */
} pass_buffers_t;

/* Scratch of the heads: of the N rows that a call is about, of M hidden states at once, and of the logits of
 * n of them (at most pass_logit_rows), which are far larger. */
typedef struct {
  real_t *hidden, *dhidden; /* (M, C) */
  int64_t written;          /* elements of hidden that hold numbers, whatever they are */
  index_t *rows, *targets;  /* (N) */
  wide_t *value, *dvalue;   /* (N): of the scalar head, or log-probabilities */
  wide_t *entropy, *ties;   /* (N) */
  real_t *dvalue_real;      /* (N): dvalue in the compute type */
  wide_t *logits;           /* (n, vocab_rows) */
  real_t *dlogits;          /* (n, vocab_rows) */
  wide_t *records;          /* (tp, n, VOCAB_RECORD) */
  wide_t *normaliser;       /* (n, 2) */
  wide_t *given[3];         /* (N): what a loss is given */
} pass_head_t;

struct pass {
  device_t *device;
  const grid_t *grid;
  pass_options_t options;
  workspace_t workspace;
  pass_buffers_t buffers;
  workspace_t head_workspace;
  pass_head_t head;
  sequences_t sequences;    /* of the last packed batch */
  device_event_t *paces[2]; /* recorded in turn by pass_pace */
  int64_t paced;            /* so often */
  tower_pass_t *tower;
  size_t *tp_counts; /* (tp): what each rank brings to a gather */
  pass_call_t call;  /* in progress, or the last one */
};

/* The norm WEIGHT over all rows, and its backward pass into DX (= or, ADD, +=). */
status_t pass_norm(const pass_call_t *call, int32_t weight, const real_t *x, real_t *y, wide_t *rstd);
status_t pass_norm_backward(const pass_call_t *call, int32_t weight, const real_t *x, const wide_t *rstd,
                            const real_t *dy, real_t *dx, bool add);

/* One decoder layer: X -> OUT. */
status_t pass_layer_forward(const pass_call_t *call, const pass_buffers_t *buffers, int32_t index,
                            const real_t *x, real_t *out);
/* buffers->dx: gradient at the layer's output on entry, at its input on return (not computed if !NEED_INPUT).
 */
status_t pass_layer_backward(const pass_call_t *call, const pass_buffers_t *buffers, int32_t index,
                             const real_t *x, bool need_input);

/* Takes the images of CALL: checks them and shares them over the tp group. Local. */
status_t pass_images_begin(pass_call_t *call, const pass_images_t *images);
/* The tower's buffers for them. Local. */
status_t pass_images_reserve(pass_t *pass, const pass_images_t *images);
/* Image tokens of the batch, and their rows of the embedded sequence X. */
status_t pass_images_forward(pass_t *pass, const pass_images_t *images, real_t *x);
/* From buffers.dx at image slots to projector and tower. */
status_t pass_images_backward(pass_t *pass);

#endif
