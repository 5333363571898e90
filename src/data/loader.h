/* Images from a dataset, decoded and preprocessed by threads ahead of need. */
#ifndef DATA_LOADER_H
#define DATA_LOADER_H

#include "io/formats/dataset.h"
#include "vision/image.h"

typedef struct loader loader_t;

/* A list of images that was asked for. */
typedef struct loader_ticket loader_ticket_t;

/* THREADS 0 decodes in loader_wait only. BUDGET: bytes of pixels held at a time for tickets that nobody has
 * waited for yet; one ticket is always served, however large. DATASET stays the caller's. Free with
 * loader_free. Local. */
status_t loader_create(const dataset_t *dataset, int threads, size_t budget, loader_t **out);

/* Stops the threads, frees all tickets that are left. NULL is fine. */
void loader_free(loader_t *loader);

/* Asks for IMAGES (n, rows of /image, copied) at SIZE x SIZE pixels of KIND; returns at once. Tickets are
 * served in the order of asking. Local; the loader's functions are for one thread, the main one. */
status_t loader_request(loader_t *loader, const int64_t *images, int32_t n, int32_t size,
                        image_aspect_t aspect, pixels_t kind, loader_ticket_t **ticket);

/* Waits for TICKET, decoding along. *PIXELS (n, 3, size, size) belong to the ticket. Time goes to
 * REGION_DATA_WAIT, what this thread decodes meanwhile to REGION_IMAGE_DECODE. A broken image is no error:
 * its pixels are zero (the mean colour), and loader_problem says why. Errors: the first image's that failed
 * otherwise than with STATUS_DATA. */
status_t loader_wait(loader_t *loader, loader_ticket_t *ticket, const float **pixels);

/* Why image K of TICKET, which was waited for, could not be loaded; NULL where it was. The ticket's. Local.
 */
const char *loader_problem(const loader_ticket_t *ticket, int32_t k);

/* Gives TICKET and its pixels back, waited for or not. NULL is fine. */
void loader_release(loader_t *loader, loader_ticket_t *ticket);

/* Reads and decodes image I as it is, without threads. Free OUT with image_free. Errors: STATUS_DATA. Local,
 * thread-safe. */
status_t loader_image(const dataset_t *dataset, int64_t i, image_t *out);

#endif
