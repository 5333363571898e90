#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/image_decode.h"
#include "io/image_kind.h"
#include "parallel/watchdog.h"
#include "perf/perf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* Images are read and checked by threads in windows of so many files and bytes, then written by the main
 * thread in order. */
enum { WINDOW_FILES = 64, WINDOW_BYTES = 64 << 20, WORKERS_MAX = 256 };

typedef struct {
  int64_t image; /* place in output->images */
  uint8_t *bytes;
  int32_t width, height;
  bool turned;   /* by its EXIF block */
  char *problem; /* NULL: it is fine */
} item_t;

typedef struct {
  output_t *output;
  int64_t begin, end; /* this rank's share */
  item_t items[WINDOW_FILES];
  int count;
  atomic_int next;
  text_buffer_t problems; /* for rank 0: image as 8 bytes, text, '\0' */
  int64_t problem_count, turned_count;
} share_t;

static const char *name_of(const output_t *output, int64_t image) {
  return names_name(&output->prepare->names, output->images[image]);
}

/* ---- Problems ---- */

/* Notes why an image cannot be used, or stops. REASON may be the thread's error message. */
static status_t prepare_images_refuse(share_t *share, int64_t image, const char *reason) {
  const output_t *output = share->output;
  const prepare_t *prepare = output->prepare;
  char text[1024];
  snprintf(text, sizeof text, "image '%.200s': %.700s", name_of(output, image), reason);
  error_clear();
  if (!prepare->options->skip_bad)
    return error_set(STATUS_DATA,
                     "sample '%s': %s; mend it, or leave bad samples out with bad_sample = 'skip'",
                     names_sample(&prepare->names, output->images[image]), text);
  share->problem_count++;
  TRY(text_buffer_append(&share->problems, (text_view_t){(const char *)&image, sizeof image}));
  return text_buffer_append(&share->problems, (text_view_t){text, strlen(text) + 1});
}

/* Room on rank 0 for the problems of all RANKS, of COUNTS bytes each. */
static status_t problems_alloc(output_t *output, const size_t *counts, int ranks, size_t *total) {
  for (int r = 0; r < ranks; r++)
    *total += counts[r];
  TRY(memory_alloc(&output->problem_bytes, ARENA_DATA, *total, 1));
  return memory_alloc(&output->problems, ARENA_DATA, (size_t)output->image_count, sizeof *output->problems);
}

/* Gives all ranks' problems to rank 0. Collective. */
static status_t problems_gather(share_t *share) {
  SCOPED_MEMORY size_t *counts = NULL;
  output_t *output = share->output;
  comm_t *comm = output->prepare->comm;
  const bool first = comm_rank(comm) == 0;
  size_t mine = share->problems.n, total = 0;
  TRY(comm_agree(comm, memory_alloc(&counts, ARENA_DATA, (size_t)comm_size(comm), sizeof *counts)));
  TRY(comm_allgather(comm, &mine, counts, sizeof mine, COMM_BYTE));
  TRY(comm_agree(comm, first ? problems_alloc(output, counts, comm_size(comm), &total) : STATUS_OK));
  TRY(comm_gatherv(comm, share->problems.bytes, mine, output->problem_bytes, counts, COMM_BYTE, 0));
  for (size_t at = 0; at < total;) { /* rank 0 */
    int64_t image;
    memcpy(&image, output->problem_bytes + at, sizeof image);
    at += sizeof image;
    output->problems[image] = output->problem_bytes + at;
    at += strlen(output->problem_bytes + at) + 1;
  }
  return STATUS_OK;
}

/* ---- Sizes ---- */

static status_t share_measure(share_t *share, int64_t *sizes) {
  for (int64_t i = share->begin; i < share->end; i++) {
    int64_t *size = &sizes[i - share->begin];
    TRY(stop_vote_continue(share->output->prepare->options->vote));
    status_code_t status = image_file_size(&share->output->prepare->folder, name_of(share->output, i), size);
    if (status == STATUS_OK) continue;
    *size = 0;
    TRY(prepare_images_refuse(share, i, error_message()));
  }
  return STATUS_OK;
}

static void prepare_images_share_of(int64_t n, int rank, int ranks, int64_t *begin, int64_t *end) {
  *begin = n * rank / ranks;
  *end = n * (rank + 1) / ranks;
}

/* Sizes of all images on all ranks. Collective. */
static status_t images_measure(share_t *share) {
  SCOPED_MEMORY int64_t *mine = NULL;
  SCOPED_MEMORY size_t *counts = NULL;
  output_t *output = share->output;
  comm_t *comm = output->prepare->comm;
  const int ranks = comm_size(comm);
  status_code_t status = memory_alloc(&mine, ARENA_DATA, (size_t)(share->end - share->begin), sizeof *mine);
  if (status == STATUS_OK) status = memory_alloc(&counts, ARENA_DATA, (size_t)ranks, sizeof *counts);
  if (status == STATUS_OK)
    status = memory_alloc(&output->sizes, ARENA_DATA, (size_t)output->image_count, sizeof *output->sizes);
  TRY(comm_agree(comm, status));
  for (int r = 0; r < ranks; r++) {
    int64_t begin, end;
    prepare_images_share_of(output->image_count, r, ranks, &begin, &end);
    counts[r] = (size_t)(end - begin);
  }
  TRY(prepare_agree(output->prepare, share_measure(share, mine)));
  return comm_allgatherv(comm, mine, output->sizes, counts, COMM_I64);
}

/* ---- Reading and checking ---- */

static status_t item_load(const output_t *output, item_t *item) {
  int64_t size = output->sizes[item->image];
  const char *name = name_of(output, item->image);
  TRY(memory_alloc(&item->bytes, ARENA_DATA, (size_t)size, 1));
  TRY(image_file_read(&output->prepare->folder, name, item->bytes, size));
  item->turned = image_orientation(item->bytes, (size_t)size) != 1;
  return image_check(item->bytes, (size_t)size, name, &item->width, &item->height);
}

/* Items of the window while there are any; the MAIN thread shows that this rank lives. */
static void window_items(share_t *share, bool main_thread) {
  double start = perf_now(), bytes = 0;
  for (int i = atomic_fetch_add(&share->next, 1); i < share->count; i = atomic_fetch_add(&share->next, 1)) {
    item_t *item = &share->items[i];
    if (main_thread) watchdog_alive();
    status_code_t status = item_load(share->output, item);
    bytes += (double)share->output->sizes[item->image];
    if (status == STATUS_OK) continue;
    (void)!memory_copy_text(&item->problem, ARENA_DATA, error_message(), strlen(error_message()));
    memory_free(item->bytes);
    item->bytes = NULL;
  }
  perf_thread(REGION_IMAGE_DECODE, perf_now() - start, bytes);
}

static void *window_work(void *context) {
  window_items(context, false);
  return NULL;
}

/* The main thread works too; fewer threads than asked for are no harm. */
static void window_run(share_t *share) {
  pthread_t threads[WORKERS_MAX];
  int wanted = share->output->prepare->options->workers - 1, started = 0;
  if (wanted > WORKERS_MAX) wanted = WORKERS_MAX;
  if (wanted > share->count - 1) wanted = share->count - 1;
  atomic_store(&share->next, 0);
  while (started < wanted && pthread_create(&threads[started], NULL, window_work, share) == 0)
    started++;
  window_items(share, true);
  for (int t = 0; t < started; t++)
    pthread_join(threads[t], NULL);
}

static status_t window_write(share_t *share) {
  for (int i = 0; i < share->count; i++) {
    item_t *item = &share->items[i];
    share->turned_count += item->bytes != NULL && item->turned;
    if (item->bytes == NULL)
      TRY(prepare_images_refuse(share, item->image,
                                item->problem == NULL ? "no memory to read it" : item->problem));
    TRY(dataset_writer_image(share->output->writer, item->image, item->bytes, item->width, item->height));
  }
  return STATUS_OK;
}

static void window_free(share_t *share) {
  for (int i = 0; i < share->count; i++) {
    memory_free(share->items[i].bytes);
    memory_free(share->items[i].problem);
  }
  share->count = 0;
}

/* Fills a window from image AT on; returns the image after it. An image of size 0 has its problem already. */
static int64_t window_fill(share_t *share, int64_t at) {
  int64_t bytes = 0;
  share->count = 0;
  for (; at < share->end && share->count < WINDOW_FILES && bytes < WINDOW_BYTES; at++) {
    if (share->output->sizes[at] == 0) continue;
    share->items[share->count++] = (item_t){.image = at};
    bytes += share->output->sizes[at];
  }
  return at;
}

/* The shares are alike: of all images about as many are done as of this rank's. */
static void prepare_images_report_progress(const share_t *share, int64_t at) {
  int64_t count = share->output->image_count;
  double done = (double)(at - share->begin) / (double)(share->end - share->begin);
  log_progress("images", at < share->end ? (int64_t)(done * (double)count) : count, count, "images", NULL);
}

static status_t share_write(share_t *share) {
  for (int64_t i = share->begin; i < share->end; i++) /* those that could not be measured */
    if (share->output->sizes[i] == 0) TRY(dataset_writer_image(share->output->writer, i, NULL, 0, 0));
  for (int64_t at = share->begin; at < share->end;) {
    TRY(stop_vote_continue(share->output->prepare->options->vote));
    at = window_fill(share, at);
    window_run(share);
    status_code_t status = window_write(share);
    window_free(share);
    TRY(status);
    prepare_images_report_progress(share, at);
  }
  return STATUS_OK;
}

/* Counts and spreads what is known of the images by now. */
static status_t problems_share(share_t *share) {
  output_t *output = share->output;
  prepare_counts_t *counts = &output->prepare->counts;
  int64_t found[] = {share->problem_count, share->turned_count};
  TRY(comm_allreduce(output->prepare->comm, found, 2, COMM_I64, COMM_SUM));
  counts->broken_images += found[0];
  counts->turned_images += found[1];
  return problems_gather(share);
}

/* Room for the largest window that would be read, and for the writer's buffers. */
static void account_for_writing(const share_t *share) {
  const output_t *output = share->output;
  int64_t most = 0, window = 0, files = 0;
  for (int64_t i = share->begin; i < share->end; i++) {
    if (files == WINDOW_FILES || window >= WINDOW_BYTES) files = window = 0;
    files++;
    window += output->sizes[i];
    if (window > most) most = window;
  }
  int64_t buffers = (int64_t)dataset_writer_memory(comm_rank(output->prepare->comm) == 0) +
                    (output->image_count + 1) * DATASET_IMAGE_MEMORY;
  memory_account(ARENA_DATA, most);
  memory_account(ARENA_IO, buffers);
  memory_account(ARENA_DATA, -most);
  memory_account(ARENA_IO, -buffers);
}

static void share_free(share_t **share) {
  if (*share != NULL) text_buffer_free(&(*share)->problems);
  memory_free(*share);
}

static status_t share_create(output_t *output, share_t **share) {
  comm_t *comm = output->prepare->comm;
  TRY(comm_agree(comm, memory_alloc(share, ARENA_DATA, 1, sizeof **share)));
  (*share)->output = output;
  prepare_images_share_of(output->image_count, comm_rank(comm), comm_size(comm), &(*share)->begin,
                          &(*share)->end);
  return images_measure(*share);
}

status_t output_write_images(output_t *output) {
  SCOPED(share_free) share_t *share = NULL;
  TRY(share_create(output, &share));
  TRY(dataset_writer_images(output->writer, output->sizes, output->image_count));
  TRY(prepare_agree(output->prepare, share_write(share)));
  return problems_share(share);
}

status_t output_measure_images(output_t *output) {
  SCOPED(share_free) share_t *share = NULL;
  TRY(share_create(output, &share));
  account_for_writing(share);
  return problems_share(share);
}
