#include "parallel/node_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct node_memory {
  comm_t *node;    /* the ranks that share it; NULL: this one alone, or it is settled */
  comm_t *writers; /* one rank of each node, on those; NULL: this one alone, or it is settled */
  bool writes;
  arena_t arena;
  size_t size;
  char *data;
  bool mapped; /* else it is a block of memory_alloc */
};

/* ---- A piece of shared memory ---- */

enum { NAME_BYTES = 64, OWNER_ONLY = 0600 };

/* A name that no other takes, on this node or one that has the same memory and numbers of processes. */
static void piece_name(char name[NAME_BYTES]) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(name, NAME_BYTES, "/llava_rlhf_%" PRIdMAX "_%" PRIdMAX "_%ld", (intmax_t)getpid(),
           (intmax_t)now.tv_sec, now.tv_nsec);
}

/* Whether NAME is there with SIZE bytes of memory, and not a promise of them. */
static bool piece_make(const char *name, size_t size) {
  int descriptor = shm_open(name, O_CREAT | O_EXCL | O_RDWR, OWNER_ONLY), problem;
  if (descriptor < 0) return false;
  do
    problem = posix_fallocate(descriptor, 0, (off_t)size);
  while (problem == EINTR);
  close(descriptor);
  if (problem != 0) shm_unlink(name);
  return problem == 0;
}

static char *piece_map(const char *name, size_t size) {
  int descriptor = shm_open(name, O_RDWR, 0);
  if (descriptor < 0) return NULL;
  void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  close(descriptor);
  return data == MAP_FAILED ? NULL : data;
}

/* The ranks of a node map a piece that one of them makes; the name is gone as soon as they have. *SHARED:
 * whether all could. */
static status_t node_map(node_memory_t *memory, bool *shared) {
  char name[NAME_BYTES] = {0};
  bool missing = false;
  if (memory->writes) {
    piece_name(name);
    if (!piece_make(name, memory->size)) *name = '\0';
  }
  TRY(comm_broadcast(memory->node, name, sizeof name, COMM_BYTE, 0));
  if (*name != '\0') memory->data = piece_map(name, memory->size);
  status_code_t status = comm_any(memory->node, memory->data == NULL, &missing);
  if (memory->writes && *name != '\0') shm_unlink(name);
  TRY(status);
  *shared = !missing;
  if (missing && memory->data) munmap(memory->data, memory->size);
  if (missing) memory->data = NULL;
  memory->mapped = memory->data != NULL;
  return STATUS_OK;
}

/* ---- The memory ---- */

/* This rank's own. */
static status_t memory_own(node_memory_t *memory) {
  memory->writes = true;
  return memory_alloc(&memory->data, memory->arena, memory->size, 1);
}

static status_t node_memory_join(comm_t *comm, node_memory_t *memory) {
  bool shared = false;
  TRY(comm_split_node(comm, "node memory", &memory->node));
  memory->writes = comm_rank(memory->node) == 0;
  if (memory->size > 0 && comm_size(memory->node) > 1) TRY(node_map(memory, &shared));
  if (shared && memory->writes) memory_account(memory->arena, (int64_t)memory->size);
  if (!shared) TRY(comm_agree(memory->node, memory_own(memory)));
  return comm_split(comm, memory->writes ? 0 : 1, comm_rank(comm), "node memory's writers", &memory->writers);
}

status_t node_memory_create(comm_t *comm, arena_t arena, size_t count, size_t size, node_memory_t **out) {
  SCOPED(node_memory_free_at) node_memory_t *memory = NULL;
  *out = NULL;
  status_code_t status = memory_alloc(&memory, ARENA_COMM, 1, sizeof *memory);
  if (status == STATUS_OK && size > 0 && count > SIZE_MAX / size)
    status = error_set(STATUS_MEMORY, "%zu elements of %zu bytes are more than there can be", count, size);
  if (comm) status = comm_agree(comm, status);
  TRY(status);
  memory->arena = arena;
  memory->size = count * size;
  status = comm ? node_memory_join(comm, memory) : memory_own(memory);
  if (comm) status = comm_agree(comm, status);
  if (status == STATUS_OK) memory_hand_over(out, &memory);
  return status;
}

void *node_memory_data(const node_memory_t *memory) {
  return memory->data;
}

bool node_memory_writes(const node_memory_t *memory) {
  return memory->writes;
}

status_t node_memory_meet(node_memory_t *memory) {
  if (!memory->node) return STATUS_OK;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  status_code_t status = comm_barrier(memory->node);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return status;
}

static void leave_comms(node_memory_t *memory) {
  comm_free(memory->writers);
  comm_free(memory->node);
  memory->writers = memory->node = NULL;
}

status_t node_memory_settle(node_memory_t *memory) {
  if (memory->writers && memory->writes)
    TRY(comm_broadcast(memory->writers, memory->data, memory->size, COMM_BYTE, 0));
  TRY(node_memory_meet(memory));
  leave_comms(memory);
  return STATUS_OK;
}

void node_memory_free(node_memory_t *memory) {
  if (memory == NULL) return;
  leave_comms(memory);
  if (memory->mapped) munmap(memory->data, memory->size);
  if (memory->mapped && memory->writes) memory_account(memory->arena, -(int64_t)memory->size);
  if (!memory->mapped) memory_free(memory->data);
  memory_free(memory);
}
