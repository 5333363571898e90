/* Draws a scene's image. */
#ifndef WORLD_RENDER_H
#define WORLD_RENDER_H

#include "shapes/scene.h"
#include "vision/image.h"

/* Draws SCENE as SIZE x SIZE pixels with antialiased edges, a textured background and a little noise: a pure
 * function of the scene and SIZE. Free OUT with image_free. Errors: STATUS_MEMORY. Local, thread-safe. */
status_t scene_render(const scene_t *scene, int32_t size, image_t *out);

#endif
