#include "data/prepare_parts.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/image_decode.h"
#include "io/image_kind.h"
#include "parallel/queue.h"
#include "perf/perf.h"

#include <pthread.h>
#include <string.h>

/* Images come from a queue that all ranks share. On each, threads read and check them, in slots that form a
 * ring, while the main thread fills slots and writes what is ready, in order; it checks images itself when it
 * has nothing else to do. So the fewest and the largest images hold nobody up. */
enum { WORKERS_MAX = 256, SLOTS = 2 * WORKERS_MAX, SLOT_BYTES = 64 << 20 /* in all of them, about */ };

typedef enum { SLOT_WAITING, SLOT_TAKEN, SLOT_READY } slot_state_t;

typedef struct {
  int64_t image; /* place in output->images */
  slot_state_t state;
  uint8_t *bytes;
  found_whole_t whole; /* once it is checked; turned by its EXIF block */
  bool known;          /* it was found whole by an earlier start */
  char *problem;       /* NULL: it is fine */
} slot_t;

typedef struct {
  output_t *output;
  int64_t begin, end; /* the images whose files this rank measures */
  queue_t *queue;     /* of images to check */
  bool queue_empty;
  pthread_mutex_t lock; /* of what follows, up to ENDED */
  pthread_cond_t filled_slot, ready_slot;
  slot_t slots[SLOTS];            /* image number K of this rank is in slot K % SLOTS */
  int64_t filled, begun, written; /* images of this rank so far */
  int64_t bytes;                  /* of images in slots */
  bool ended;                     /* threads are to stop */
  text_buffer_t problems;         /* for rank 0: image as 8 bytes, text, '\0' */
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

/* ---- Checking: any thread ---- */

static status_t slot_load(const output_t *output, slot_t *slot) {
  int64_t size = output->sizes[slot->image];
  const char *name = name_of(output, slot->image);
  TRY(memory_alloc(&slot->bytes, ARENA_DATA, (size_t)size, 1));
  TRY(image_file_read(&output->prepare->folder, name, slot->bytes, size));
  slot->known = output_found_whole(output, slot->image, slot->bytes, &slot->whole);
  if (slot->known) return STATUS_OK;
  slot->whole.turned = image_orientation(slot->bytes, (size_t)size) != 1;
  return image_check(slot->bytes, (size_t)size, name, &slot->whole.width, &slot->whole.height);
}

/* An image of size 0 has its problem already. */
static void slot_check(share_t *share, slot_t *slot) {
  const int64_t size = share->output->sizes[slot->image];
  const double start = perf_now();
  if (size == 0 || slot_load(share->output, slot) == STATUS_OK) {
    perf_thread(REGION_IMAGE_DECODE, perf_now() - start, (double)size);
    return;
  }
  perf_thread(REGION_IMAGE_DECODE, perf_now() - start, (double)size);
  (void)!memory_copy_text(&slot->problem, ARENA_DATA, error_message(), strlen(error_message()));
  memory_free(slot->bytes);
  slot->bytes = NULL;
}

/* Checks the next image, if there is one. Called and left with the lock. */
static bool next_check(share_t *share) {
  if (share->begun == share->filled) return false;
  slot_t *slot = &share->slots[share->begun++ % SLOTS];
  slot->state = SLOT_TAKEN;
  pthread_mutex_unlock(&share->lock);
  slot_check(share, slot);
  pthread_mutex_lock(&share->lock);
  slot->state = SLOT_READY;
  pthread_cond_signal(&share->ready_slot);
  return true;
}

static void *thread_work(void *context) {
  share_t *share = context;
  pthread_mutex_lock(&share->lock);
  while (!share->ended)
    if (!next_check(share)) pthread_cond_wait(&share->filled_slot, &share->lock);
  pthread_mutex_unlock(&share->lock);
  return NULL;
}

/* ---- Filling and writing: the main thread ---- */

/* How many images a rank has at a time: two for each thread, no more, for what it has no other rank can take.
 */
static int64_t slots_used(const share_t *share) {
  const int64_t workers = share->output->prepare->options->workers;
  return workers <= 1 ? 1 : workers >= WORKERS_MAX ? SLOTS : 2 * workers;
}

static bool has_room(const share_t *share) {
  return share->filled < share->written + slots_used(share) && share->bytes < SLOT_BYTES;
}

static void slot_fill(share_t *share, int64_t image) {
  pthread_mutex_lock(&share->lock);
  share->slots[share->filled++ % SLOTS] = (slot_t){.image = image};
  share->bytes += share->output->sizes[image];
  pthread_cond_signal(&share->filled_slot);
  pthread_mutex_unlock(&share->lock);
}

/* Of a queue, how far one rank is, is how far all are. */
static void prepare_images_report_progress(const share_t *share, int64_t image) {
  log_progress("images", image + 1, share->output->image_count, "images", NULL);
}

static status_t slots_take(share_t *share) {
  while (!share->queue_empty && has_room(share)) {
    int64_t image, taken;
    TRY(queue_take(share->queue, 1, &image, &taken));
    share->queue_empty = taken == 0;
    if (taken == 0) return STATUS_OK;
    prepare_images_report_progress(share, image);
    slot_fill(share, image);
  }
  return STATUS_OK;
}

/* Waits until the next image to be written is ready; checks others meanwhile. */
static slot_t *slot_wait(share_t *share) {
  slot_t *slot = &share->slots[share->written % SLOTS];
  pthread_mutex_lock(&share->lock);
  while (slot->state != SLOT_READY)
    if (!next_check(share)) pthread_cond_wait(&share->ready_slot, &share->lock);
  pthread_mutex_unlock(&share->lock);
  return slot;
}

static status_t slot_write(share_t *share, const slot_t *slot) {
  const output_t *output = share->output;
  share->turned_count += slot->bytes != NULL && slot->whole.turned;
  if (slot->bytes == NULL && output->sizes[slot->image] > 0)
    TRY(prepare_images_refuse(share, slot->image,
                              slot->problem == NULL ? "no memory to read it" : slot->problem));
  TRY(dataset_writer_image(output->writer, slot->image, slot->bytes, slot->whole.width, slot->whole.height));
  if (slot->bytes != NULL && !slot->known) output_keep_image(output, slot->image, &slot->whole);
  return STATUS_OK;
}

static void slot_free(slot_t *slot) {
  memory_free(slot->bytes);
  memory_free(slot->problem);
  *slot = (slot_t){0};
}

static status_t images_write(share_t *share) {
  for (;;) {
    TRY(slots_take(share));
    if (share->written == share->filled) return STATUS_OK;
    slot_t *slot = slot_wait(share);
    status_code_t status = slot_write(share, slot);
    share->bytes -= share->output->sizes[slot->image];
    slot_free(slot);
    share->written++;
    TRY(status);
    TRY(queue_progress(share->queue)); /* others may be waiting for this rank's counter */
    TRY(stop_vote_continue(share->output->prepare->options->vote));
  }
}

/* Fewer threads than asked for are no harm: the main thread works too. */
static status_t share_write(share_t *share) {
  pthread_t threads[WORKERS_MAX];
  int wanted = share->output->prepare->options->workers - 1, started = 0;
  if (wanted > WORKERS_MAX) wanted = WORKERS_MAX;
  if (wanted > share->output->image_count - 1) wanted = (int)(share->output->image_count - 1);
  while (started < wanted && pthread_create(&threads[started], NULL, thread_work, share) == 0)
    started++;
  status_code_t status = images_write(share);
  pthread_mutex_lock(&share->lock);
  share->ended = true;
  pthread_cond_broadcast(&share->filled_slot);
  pthread_mutex_unlock(&share->lock);
  for (int t = 0; t < started; t++)
    pthread_join(threads[t], NULL);
  return status;
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

/* Room for the most that slots would hold at a time, and for the writer's buffers. */
static void account_for_writing(const share_t *share) {
  const output_t *output = share->output;
  int64_t most = 0, held = 0;
  for (int64_t i = 0, first = 0; i < output->image_count; i++) {
    held += output->sizes[i];
    while (i - first >= slots_used(share) || held - output->sizes[i] >= SLOT_BYTES)
      held -= output->sizes[first++];
    if (held > most) most = held;
  }
  int64_t buffers = (int64_t)dataset_writer_memory(comm_rank(output->prepare->comm) == 0) +
                    (output->image_count + 1) * DATASET_IMAGE_MEMORY;
  memory_account(ARENA_DATA, most);
  memory_account(ARENA_IO, buffers);
  memory_account(ARENA_DATA, -most);
  memory_account(ARENA_IO, -buffers);
}

static void share_free(share_t **share) {
  if (*share == NULL) return;
  for (int s = 0; s < SLOTS; s++)
    slot_free(&(*share)->slots[s]);
  text_buffer_free(&(*share)->problems);
  pthread_cond_destroy(&(*share)->filled_slot);
  pthread_cond_destroy(&(*share)->ready_slot);
  pthread_mutex_destroy(&(*share)->lock);
  memory_free(*share);
}

static status_t share_create(output_t *output, share_t **share) {
  comm_t *comm = output->prepare->comm;
  TRY(comm_agree(comm, memory_alloc(share, ARENA_DATA, 1, sizeof **share)));
  (*share)->output = output;
  pthread_mutex_init(&(*share)->lock, NULL);
  pthread_cond_init(&(*share)->filled_slot, NULL);
  pthread_cond_init(&(*share)->ready_slot, NULL);
  prepare_images_share_of(output->image_count, comm_rank(comm), comm_size(comm), &(*share)->begin,
                          &(*share)->end);
  return images_measure(*share);
}

status_t output_write_images(output_t *output) {
  SCOPED(share_free) share_t *share = NULL;
  TRY(share_create(output, &share));
  TRY(comm_agree(output->prepare->comm, output_read_whole(output)));
  TRY(dataset_writer_images(output->writer, output->sizes, output->image_count));
  TRY(queue_create_ranks(output->prepare->comm, output->image_count, &share->queue));
  status_code_t status = prepare_agree(output->prepare, share_write(share));
  queue_free(share->queue);
  if (status == STATUS_STOPPED)
    TRY(kept_tell(output->prepare->kept, output->image_count, &output->prepare->counts.gained));
  TRY(status);
  return problems_share(share);
}

status_t output_measure_images(output_t *output) {
  SCOPED(share_free) share_t *share = NULL;
  TRY(share_create(output, &share));
  account_for_writing(share);
  return problems_share(share);
}
