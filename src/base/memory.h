/* Memory by arena: every long-lived block belongs to a named arena whose current and peak size the memory
 * report shows, and which --dry-run predicts. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
  ARENA_WEIGHTS, /* frozen and trained weights, adapters, heads */
  ARENA_GRADIENTS,
  ARENA_OPTIMIZER,   /* master weights, moments */
  ARENA_ACTIVATIONS, /* kept for the backward pass */
  ARENA_SCRATCH,     /* reused within a pass */
  ARENA_CACHE,       /* key-value pages */
  ARENA_FEATURES,    /* image features and pixels */
  ARENA_DATA,        /* datasets' offsets, loader's rows */
  ARENA_ROLLOUT,     /* samples of a step */
  ARENA_IO,          /* staging for files */
  ARENA_COMM,        /* staging for communication */
  ARENA_OTHER,
  ARENA_COUNT
} arena_t;

typedef struct {
  const char *name;
  size_t current; /* bytes */
  size_t peak;    /* bytes */
} memory_usage_t;

/* Has freed blocks of up to 32 MiB kept for the next of their size, at most 64 MiB at an end of the heap:
 * images come and go by the thousand, and pages given back to the system come again one fault each. (glibc
 * arrives at these limits by itself, once it has seen a block of that size freed.) Called once, before all
 * else. Local. */
void memory_keep_freed(void);

/* Allocates COUNT * SIZE zeroed bytes (64-byte aligned) of ARENA and stores the pointer in *(void **)OUT;
 * NULL for 0 bytes. OUT is the address of a pointer of any object type. Errors: STATUS_MEMORY (names arena
 * and size; overflow included). The caller frees with memory_free. Local, thread-safe. */
status_t memory_alloc(void *out, arena_t arena, size_t count, size_t size);

/* Changes a block of memory_alloc to COUNT * SIZE bytes, keeping its contents; new bytes are zeroed. *(void
 * **)INOUT may be NULL. On error the old block is untouched. Local, thread-safe. */
status_t memory_resize(void *inout, arena_t arena, size_t count, size_t size);

/* Sees that a block that grows, *(void **)INOUT, has room for COUNT * SIZE bytes: at least doubles it where
 * it has not. Otherwise as memory_resize. Local, thread-safe. */
status_t memory_reserve(void *inout, arena_t arena, size_t count, size_t size);

/* Whether a tensor of SHAPE (DIMS dimensions), of elements of SIZE bytes, has a number of bytes that int64_t
 * holds, and so have all of its parts: a dimension of 0 does not hide what overflows in the others. False
 * where a dimension is negative. Local, thread-safe. */
bool memory_shape_fits(const int64_t *shape, int dims, int64_t size);

/* Frees a block of memory_alloc; NULL is fine. Local, thread-safe. */
void memory_free(void *pointer);

/* A variable that FREE, called with its address, cleans up where it goes out of scope, on whichever way out:
 * by TRY, by return, or at the end of its block. It has a value from the start: `SCOPED(reader_free) reader_t
 * reader = {0};`. SCOPED_POINTER makes of a function that frees what a pointer leads to, NULL included, one
 * for SCOPED: FREE_at. */
#define SCOPED(free) __attribute__((cleanup(free)))
#define SCOPED_POINTER(free, type)                                                                           \
  static inline void free##_at(type **pointer) {                                                             \
    free(*pointer);                                                                                          \
  }

/* A block of memory_alloc that is freed so: `SCOPED_MEMORY char *text = NULL;`. */
#define SCOPED_MEMORY SCOPED(memory_free_at)
void memory_free_at(void *address);

/* What is done well is handed over: *(void **)OUT becomes *(void **)POINTER, which becomes NULL. Local. */
void memory_hand_over(void *out, void *pointer);

/* Duplicates the first N bytes of TEXT and ends them with '\0'. Caller frees with memory_free. */
status_t memory_copy_text(char **out, arena_t arena, const char *text, size_t n);

/* Counts BYTES that another allocator took (positive) or gave back (negative) in ARENA. */
void memory_account(arena_t arena, int64_t bytes);
/* The same of a device's memory. */
void memory_account_device(arena_t arena, int64_t bytes);

/* The most bytes that all arenas together have held at one time: less than the sum of their peaks where they
 * had them at different times. Local. */
size_t memory_peak(void);
/* Starts the peaks anew, from what is in use. Local. */
void memory_reset_peaks(void);

/* Bytes of the largest resident set that this process has had, all of its libraries included. Local. */
size_t memory_resident_peak(void);

/* Bytes of host memory that can still be taken, of the machine or of the control group that the process is
 * in, whichever is less; 0 where the system does not tell. Local. */
size_t memory_available(void);

/* The same of all host memory, taken or not. Local. */
size_t memory_total(void);

/* Use of one arena so far. Local. */
memory_usage_t memory_usage(arena_t arena);

/* What of it is the host's own, or a device's. ARENA_COUNT: of all arenas together, so that the peak is what
 * there was at one time. Local. */
typedef enum { MEMORY_HOST, MEMORY_DEVICE, MEMORY_PLACES } memory_place_t;
memory_usage_t memory_usage_at(memory_place_t place, arena_t arena);

#endif
