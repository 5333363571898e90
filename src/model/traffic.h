/* Bytes that the passes of a model must move at the least: each weight once a pass, keys and values of each
 * sequence, what is kept for the backward pass, gradients. What lies in caches between two operations is not
 * counted, nor what is computed again. All functions are local, and count this rank's share. */
#ifndef MODEL_TRAFFIC_H
#define MODEL_TRAFFIC_H

#include "model/base.h"

typedef struct {
  double weights;   /* read once: by a forward pass, and again by its backward pass */
  double gradients; /* of what is trained, read and written once: a backward pass adds to them */
} traffic_t;

/* Of ROLE's layers, final norm and adapter. */
traffic_t traffic_decoder(const role_t *role);

/* Of the output head: for each chunk of rows. */
traffic_t traffic_head(const base_t *base);

/* Of the layers of the tower that are run, and of the projector. */
traffic_t traffic_tower(const base_t *base);
traffic_t traffic_projector(const base_t *base);

/* Keys and values of POSITIONS positions in all layers, read or written. */
double traffic_cache(const base_t *base, double positions);

/* What a forward pass of ROLE over ROWS tokens keeps for its backward pass (RECOMPUTE: the layers' inputs
 * only), and the tower's over ROWS rows: written by the one, read by the other. */
double traffic_kept(const role_t *role, double rows, bool recompute);
double traffic_tower_kept(const base_t *base, double rows);

#endif
