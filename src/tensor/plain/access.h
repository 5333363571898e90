/* What every operation of the plain device does before and after its loops: says which operands it reads and
 * writes, so that shapes, overlaps, indices and (in the checking mode) block bounds and poison are checked,
 * and memory is accessible for just as long. Errors stick: after the first, later calls do nothing, and
 * access_ready returns it.
 *
 *   access_t access = access_begin(device, "op");
 *   access_operand(&access, ...);  ...
 *   TRY(access_ready(&access));
 *   ... loops ...
 *   access_end(&access);
 */
#ifndef TENSOR_PLAIN_ACCESS_H
#define TENSOR_PLAIN_ACCESS_H

#include "tensor/device.h"
#include "tensor/plain/guard.h"

enum { ACCESS_OPERANDS_MAX = 16 };

typedef enum {
  ACCESS_READ,   /* every element is read: poison is an error */
  ACCESS_SOME,   /* some elements are read: the operation knows which */
  ACCESS_WRITE,  /* every element is set */
  ACCESS_UPDATE, /* every element is read and set */
  ACCESS_PATCH   /* some elements are set */
} access_use_t;

typedef struct {
  const char *name;
  uintptr_t begin;
  int64_t rows, cols, ld; /* in elements */
  size_t size;            /* of an element */
  access_use_t use;
  const void *over;     /* where not NULL: the operand that this one may be, as a whole */
  guard_block_t *block; /* opened (checking mode) */
} access_operand_t;

typedef struct {
  device_t *device;
  const char *op;
  status_code_t status;
  int count;
  access_operand_t operands[ACCESS_OPERANDS_MAX];
} access_t;

access_t access_begin(device_t *device, const char *op);

/* An operand of (rows, cols) with row stride ld; SIZE bytes an element. Where OVER is not NULL the operand
 * may be the one at OVER, with the same shape. No elements: nothing to check, pointer may be NULL. */
void access_operand(access_t *access, const char *name, const void *pointer, size_t size, int64_t rows,
                    int64_t cols, int64_t ld, access_use_t use, const void *over);

/* An index operand of N elements, each within MIN..MAX; with DISTINCT no two alike but those below 0. */
void access_index(access_t *access, const char *name, const index_t *pointer, int64_t n, int64_t min,
                  int64_t max, bool distinct);

/* The largest of an index operand that was given to access_index; -1 where there is none, or after an error.
 */
int64_t access_index_max(const access_t *access, const index_t *pointer, int64_t n);

/* Reads that ACCESS_SOME did not check: COUNT elements at ELEMENT of the operand that begins at POINTER. */
void access_touch(access_t *access, const char *name, const void *pointer, size_t size, int64_t element,
                  int64_t count);

/* STATUS_DEVICE with "op: message" unless CONDITION holds. */
void access_require(access_t *access, bool condition, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The first error, if there was one; then all is closed again. */
status_t access_ready(access_t *access);
void access_end(access_t *access);

#endif
