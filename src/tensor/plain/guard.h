/* The memory of a checking device: blocks in one reserved range of addresses that are accessible only while
 * an operation of the device has opened them. Addresses are never given out twice, so a pointer to freed
 * memory faults for as long as the device lives. */
#ifndef TENSOR_PLAIN_GUARD_H
#define TENSOR_PLAIN_GUARD_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What fresh memory is filled with: a quiet NaN as a float, and (twice) as a double; no sensible index. */
#define GUARD_POISON UINT32_C(0x7ffda5a5)

typedef struct {
  uintptr_t begin;
  size_t bytes; /* as asked for */
  bool live;
  int open; /* how often it is opened now */
} guard_block_t;

typedef struct {
  uintptr_t begin, next, end; /* reserved: begin..end, given out: begin..next */
  size_t page;
  guard_block_t *blocks; /* (count), by ascending address, freed ones included */
  size_t count, capacity;
} guard_t;

/* Reserves the range (addresses only). Errors: STATUS_MEMORY. Local. */
status_t guard_create(guard_t *guard);
void guard_destroy(guard_t *guard);

/* A poisoned, protected block of BYTES > 0. Errors: STATUS_MEMORY. Local. */
status_t guard_alloc(guard_t *guard, size_t bytes, void **out);
/* Gives the memory of POINTER's block back; its addresses stay protected. */
void guard_release(guard_t *guard, void *pointer);

/* True for any address of the range, live or not. */
bool guard_contains(const guard_t *guard, const void *pointer);
/* The block (live or freed) that holds the BYTES at POINTER, NULL where no block holds all of them. */
guard_block_t *guard_find(const guard_t *guard, const void *pointer, size_t bytes);

/* Makes a live block accessible until as many guard_close have followed. Errors: STATUS_MEMORY. */
status_t guard_open(const guard_t *guard, guard_block_t *block);
void guard_close(const guard_t *guard, guard_block_t *block);

#endif
