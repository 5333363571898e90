#include "data/loader.h"

#include "base/memory.h"
#include "io/image_decode.h"
#include "perf/perf.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Why an image could not be loaded. */
typedef struct {
  status_code_t status;
  char *message; /* NULL where there is none, or no memory for it */
} problem_t;

struct loader_ticket {
  loader_ticket_t *next; /* asked for later */
  int64_t *images;       /* (n) */
  int32_t n, size;
  image_aspect_t aspect;
  pixels_t kind;
  float *pixels; /* (n, 3, size, size); NULL until the ticket's turn has come */
  size_t bytes;  /* of pixels */
  int32_t taken, finished;
  bool counted;        /* its bytes count against the budget */
  bool withdrawn;      /* nobody wants it: what is being decoded is finished, nothing more is begun */
  problem_t *problems; /* (n) */
};

struct loader {
  const dataset_t *dataset;
  pthread_mutex_t lock; /* guards all that follows and the tickets' progress */
  pthread_cond_t work;  /* there may be an image to decode */
  pthread_cond_t done;  /* an image has been decoded */
  loader_ticket_t *first, *last;
  size_t budget, used;
  bool stopping;
  int thread_count;
  pthread_t *threads; /* (thread_count) */
};

/* ---- One image ---- */

status_t loader_image(const dataset_t *dataset, int64_t i, image_t *out) {
  SCOPED_MEMORY char *name = NULL;
  SCOPED_MEMORY uint8_t *bytes = NULL;
  *out = (image_t){0};
  if (i < 0 || i >= dataset_info(dataset).images)
    return error_set(STATUS_INTERNAL, "%s: there is no image %lld", dataset_path(dataset), (long long)i);
  TRY(dataset_image_name(dataset, i, &name));
  size_t n = (size_t)dataset_image_size(dataset, i);
  status_code_t status = memory_alloc(&bytes, ARENA_DATA, n, 1);
  if (status == STATUS_OK) status = dataset_image_read(dataset, i, bytes);
  if (status == STATUS_OK) status = image_decode(bytes, n, name, out);
  return error_context(status, "in the dataset %s", dataset_path(dataset));
}

static status_t pixels_make(const loader_t *loader, const loader_ticket_t *ticket, int32_t k) {
  SCOPED(image_free) image_t image = {0};
  TRY(loader_image(loader->dataset, ticket->images[k], &image));
  size_t stride = 3 * (size_t)ticket->size * (size_t)ticket->size;
  return image_preprocess(&image, ticket->aspect, ticket->kind, ticket->size,
                          ticket->pixels + (size_t)k * stride);
}

/* ---- Under the lock ---- */

/* Gives the ticket its memory. */
static status_t ticket_admit(loader_t *loader, loader_ticket_t *ticket) {
  if (ticket->pixels != NULL || ticket->n == 0) return STATUS_OK;
  TRY(memory_alloc(&ticket->pixels, ARENA_FEATURES, ticket->bytes, 1));
  ticket->counted = true;
  loader->used += ticket->bytes;
  pthread_cond_broadcast(&loader->work);
  return STATUS_OK;
}

/* Tickets whose turn has come within the budget; without memory they wait until somebody waits for them. */
static void tickets_admit(loader_t *loader) {
  for (loader_ticket_t *at = loader->first; at != NULL; at = at->next) {
    if (at->pixels != NULL || at->n == 0 || at->withdrawn) continue;
    if (loader->used > 0 && loader->used + at->bytes > loader->budget) return;
    if (ticket_admit(loader, at) == STATUS_OK) continue;
    error_clear();
    return;
  }
}

static bool loader_has_work(const loader_ticket_t *ticket) {
  return ticket->pixels != NULL && !ticket->withdrawn && ticket->taken < ticket->n;
}

static loader_ticket_t *ticket_with_work(const loader_t *loader) {
  for (loader_ticket_t *at = loader->first; at != NULL; at = at->next)
    if (loader_has_work(at)) return at;
  return NULL;
}

/* Notes why image K failed; its pixels are the mean colour. */
static void ticket_fail(loader_ticket_t *ticket, int32_t k, status_code_t status) {
  problem_t *problem = &ticket->problems[k];
  const char *message = error_message();
  const size_t stride = 3 * (size_t)ticket->size * (size_t)ticket->size;
  problem->status = status;
  (void)!memory_copy_text(&problem->message, ARENA_DATA, message, strlen(message));
  memset(ticket->pixels + (size_t)k * stride, 0, stride * sizeof *ticket->pixels);
}

static void ticket_unlink(loader_t *loader, loader_ticket_t *ticket) {
  loader_ticket_t *before = NULL;
  for (loader_ticket_t *at = loader->first; at != ticket; at = at->next)
    before = at;
  if (before == NULL)
    loader->first = ticket->next;
  else
    before->next = ticket->next;
  if (loader->last == ticket) loader->last = before;
}

static void ticket_free(loader_ticket_t *ticket) {
  if (ticket == NULL) return;
  for (int32_t k = 0; k < ticket->n && ticket->problems != NULL; k++)
    memory_free(ticket->problems[k].message);
  memory_free(ticket->pixels);
  memory_free(ticket->images);
  memory_free(ticket->problems);
  memory_free(ticket);
}

SCOPED_POINTER(ticket_free, loader_ticket_t)

/* Decodes the ticket's next image; the lock is open meanwhile. */
static void ticket_step(loader_t *loader, loader_ticket_t *ticket) {
  int32_t k = ticket->taken++;
  pthread_mutex_unlock(&loader->lock);
  status_code_t status = pixels_make(loader, ticket, k);
  pthread_mutex_lock(&loader->lock);
  if (status != STATUS_OK) {
    ticket_fail(ticket, k, status);
    error_clear();
  }
  ticket->finished++;
  pthread_cond_broadcast(&loader->done);
}

/* ---- Threads ---- */

static void *thread_run(void *context) {
  loader_t *loader = context;
  pthread_mutex_lock(&loader->lock);
  while (!loader->stopping) {
    loader_ticket_t *ticket = ticket_with_work(loader);
    if (ticket == NULL) {
      pthread_cond_wait(&loader->work, &loader->lock);
      continue;
    }
    double start = perf_now();
    double bytes = (double)dataset_image_size(loader->dataset, ticket->images[ticket->taken]);
    ticket_step(loader, ticket);
    perf_thread(REGION_IMAGE_DECODE, perf_now() - start, bytes);
  }
  pthread_mutex_unlock(&loader->lock);
  return NULL;
}

SCOPED_POINTER(loader_free, loader_t)

status_t loader_create(const dataset_t *dataset, int threads, size_t budget, loader_t **out) {
  SCOPED(loader_free_at) loader_t *loader = NULL;
  *out = NULL;
  TRY(memory_alloc(&loader, ARENA_DATA, 1, sizeof *loader));
  loader->dataset = dataset;
  loader->budget = budget;
  pthread_mutex_init(&loader->lock, NULL);
  pthread_cond_init(&loader->work, NULL);
  pthread_cond_init(&loader->done, NULL);
  TRY(memory_alloc(&loader->threads, ARENA_DATA, (size_t)threads, sizeof *loader->threads));
  for (; loader->thread_count < threads; loader->thread_count++)
    if (pthread_create(&loader->threads[loader->thread_count], NULL, thread_run, loader) != 0)
      return error_set(STATUS_MEMORY, "thread %d of %d that decode images cannot be started",
                       loader->thread_count + 1, threads);
  memory_hand_over(out, &loader);
  return STATUS_OK;
}

void loader_free(loader_t *loader) {
  if (loader == NULL) return;
  pthread_mutex_lock(&loader->lock);
  loader->stopping = true;
  pthread_cond_broadcast(&loader->work);
  pthread_mutex_unlock(&loader->lock);
  for (int t = 0; t < loader->thread_count; t++)
    pthread_join(loader->threads[t], NULL);
  for (loader_ticket_t *at = loader->first; at != NULL;) {
    loader_ticket_t *next = at->next;
    ticket_free(at);
    at = next;
  }
  pthread_cond_destroy(&loader->done);
  pthread_cond_destroy(&loader->work);
  pthread_mutex_destroy(&loader->lock);
  memory_free(loader->threads);
  memory_free(loader);
}

/* ---- Tickets ---- */

static status_t loader_images_check(const loader_t *loader, const int64_t *images, int32_t n, int32_t size) {
  const int64_t count = dataset_info(loader->dataset).images;
  if (n < 0 || size <= 0) return error_set(STATUS_INTERNAL, "%d images of %d pixels were asked for", n, size);
  for (int32_t k = 0; k < n; k++)
    if (images[k] < 0 || images[k] >= count)
      return error_set(STATUS_INTERNAL, "%s: image %lld of %lld was asked for", dataset_path(loader->dataset),
                       (long long)images[k], (long long)count);
  return STATUS_OK;
}

status_t loader_request(loader_t *loader, const int64_t *images, int32_t n, int32_t size,
                        image_aspect_t aspect, pixels_t kind, loader_ticket_t **out) {
  SCOPED(ticket_free_at) loader_ticket_t *ticket = NULL;
  *out = NULL;
  TRY(loader_images_check(loader, images, n, size));
  TRY(memory_alloc(&ticket, ARENA_DATA, 1, sizeof *ticket));
  ticket->n = n;
  ticket->size = size;
  ticket->aspect = aspect;
  ticket->kind = kind;
  ticket->bytes = (size_t)n * 3 * (size_t)size * (size_t)size * sizeof(float);
  TRY(memory_alloc(&ticket->images, ARENA_DATA, (size_t)n, sizeof *images));
  TRY(memory_alloc(&ticket->problems, ARENA_DATA, (size_t)n, sizeof *ticket->problems));
  if (n > 0) memcpy(ticket->images, images, (size_t)n * sizeof *images);
  pthread_mutex_lock(&loader->lock);
  if (loader->last == NULL)
    loader->first = ticket;
  else
    loader->last->next = ticket;
  loader->last = ticket;
  tickets_admit(loader);
  pthread_mutex_unlock(&loader->lock);
  memory_hand_over(out, &ticket);
  return STATUS_OK;
}

/* Under the lock. What somebody waits for no longer stands in the way of what comes next. */
static void ticket_discount(loader_t *loader, loader_ticket_t *ticket) {
  if (!ticket->counted) return;
  ticket->counted = false;
  loader->used -= ticket->bytes;
}

static status_t ticket_wait(loader_t *loader, loader_ticket_t *ticket) {
  pthread_mutex_lock(&loader->lock);
  status_code_t status = ticket_admit(loader, ticket);
  if (status == STATUS_OK) {
    ticket_discount(loader, ticket);
    tickets_admit(loader);
  }
  while (status == STATUS_OK && ticket->finished < ticket->n) {
    if (loader_has_work(ticket)) {
      perf_begin(REGION_IMAGE_DECODE);
      ticket_step(loader, ticket);
      perf_end(REGION_IMAGE_DECODE);
    } else {
      pthread_cond_wait(&loader->done, &loader->lock);
    }
  }
  pthread_mutex_unlock(&loader->lock);
  return status;
}

/* The first problem that is no broken image. */
static status_t ticket_outcome(const loader_ticket_t *ticket) {
  for (int32_t k = 0; k < ticket->n; k++) {
    const problem_t *problem = &ticket->problems[k];
    if (problem->status == STATUS_OK || problem->status == STATUS_DATA) continue;
    return error_set(problem->status, "%s", loader_problem(ticket, k));
  }
  return STATUS_OK;
}

status_t loader_wait(loader_t *loader, loader_ticket_t *ticket, const float **pixels) {
  perf_begin(REGION_DATA_WAIT);
  status_code_t status = ticket_wait(loader, ticket);
  perf_end(REGION_DATA_WAIT);
  if (status == STATUS_OK) status = ticket_outcome(ticket);
  *pixels = status == STATUS_OK ? ticket->pixels : NULL;
  return status;
}

const char *loader_problem(const loader_ticket_t *ticket, int32_t k) {
  const problem_t *problem = &ticket->problems[k];
  if (problem->status == STATUS_OK) return NULL;
  return problem->message == NULL ? "the image could not be loaded" : problem->message;
}

void loader_release(loader_t *loader, loader_ticket_t *ticket) {
  if (ticket == NULL) return;
  pthread_mutex_lock(&loader->lock);
  ticket->withdrawn = true;
  while (ticket->finished < ticket->taken)
    pthread_cond_wait(&loader->done, &loader->lock);
  ticket_discount(loader, ticket);
  ticket_unlink(loader, ticket);
  tickets_admit(loader);
  pthread_mutex_unlock(&loader->lock);
  ticket_free(ticket);
}
