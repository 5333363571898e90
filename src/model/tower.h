/* Vision tower and projector, run on this rank's share of a batch's images. */
#ifndef MODEL_TOWER_H
#define MODEL_TOWER_H

#include "model/base.h"

typedef struct tower_pass tower_pass_t;

status_t tower_pass_create(device_t *device, tower_pass_t **out);
void tower_pass_free(tower_pass_t *pass);

/* Reorders pixels (3, S, S) of one image to patch rows (P, 3 * patch * patch), host memory. Local. */
void tower_patches(const model_config_t *config, const float *pixels, float *patches);

/* Buffers for COUNT images: for features computed earlier (and the projector), or for the tower as well
 * (KEEP: and its backward pass), which tower_restore and tower_forward see to otherwise. Local. Errors:
 * STATUS_INPUT (too many images for one pass), STATUS_MEMORY. */
status_t tower_reserve_features(tower_pass_t *pass, const base_t *base, int32_t count);
status_t tower_reserve(tower_pass_t *pass, const base_t *base, int32_t count, bool keep);

/* Tower on COUNT images: PATCHES (count * P, patch size) host -> features (count * P, vision hidden) on the
 * device, valid until the next call. KEEP holds the activations for tower_backward. count may be 0. Local. */
status_t tower_forward(tower_pass_t *pass, const base_t *base, int32_t count, const float *patches, bool keep,
                       const real_t **features);

/* Takes features (count * P, vision hidden) computed earlier from host memory to the device instead. Local.
 */
status_t tower_restore(tower_pass_t *pass, const base_t *base, int32_t count, const float *features,
                       const real_t **on_device);

/* Projector: features (rows, vision hidden) -> tokens (rows, C) at OUT, the caller's; keeps its activations.
 * Local. */
status_t projector_forward(tower_pass_t *pass, const base_t *base, int64_t rows, const real_t *features,
                           real_t *out);

/* Backward through the projector and, if the tower is trained, the tower, from DOUT (rows, C): adds to the
 * gradients of what is trained. Overwrites the pass's scratch. After tower_forward with KEEP (where the tower
 * is trained) and projector_forward. Local. */
status_t tower_backward(tower_pass_t *pass, base_t *base, int32_t count, const real_t *dout);

#endif
