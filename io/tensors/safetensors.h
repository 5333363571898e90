/* Inside io/tensors: the header of a safetensors file. Eight bytes with the length n of the header, n bytes
 * of JSON that name each tensor's type, shape and range of bytes, then the elements, without hole or overlap.
 */
#ifndef IO_SAFETENSORS_H
#define IO_SAFETENSORS_H

#include "io/tensors/tensor_list.h"

enum { SAFETENSORS_LENGTH_BYTES = 8, SAFETENSORS_MAX_HEADER = 100000000 };

/* The member of the header that is no tensor. */
#define SAFETENSORS_METADATA "__metadata__"

/* Do these first N bytes of a file look like the beginning of a safetensors file? */
bool safetensors_begins(const unsigned char *bytes, size_t n);

/* Adds the tensors of SOURCE, number NUMBER of its set, to LIST, in the order of their places. Errors:
 * STATUS_DATA for a header that is no such JSON or too long, a repeated name, an unknown type, a shape that
 * does not fit the range, ranges that leave a hole, overlap, or end before or behind the end of the file;
 * STATUS_MEMORY. Local. */
status_t safetensors_list(const tensor_source_t *source, int64_t number, tensor_list_t *list);

#endif
