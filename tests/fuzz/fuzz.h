/* What the fuzz targets share. Each target is one file with fuzz_start, called once, and fuzz_one, called
 * with each input; a target fails by crashing, by an error of a sanitizer, or by abort where a result is
 * wrong. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

void fuzz_start(void);
void fuzz_one(const uint8_t *bytes, size_t n);

/* Ends the target with a message unless CONDITION holds. */
#define FUZZ_EXPECT(condition) ((condition) ? (void)0 : fuzz_fail(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_fail(const char *condition, const char *file, int line);

/* Path of this process's file NAME, in memory where the system has such a place; removed at the end. The text
 * stays until the process ends. */
const char *fuzz_path(const char *name);

/* Writes N BYTES as the file PATH. */
void fuzz_write(const char *path, const void *bytes, size_t n);

/* An input that is read from its beginning as numbers and bytes; what is missing is 0. */
typedef struct {
  const uint8_t *bytes;
  size_t left;
} fuzz_input_t;

uint64_t fuzz_take(fuzz_input_t *input, size_t bytes); /* a number of 1 to 8 bytes, little-endian */
/* A number below LIMIT. */
size_t fuzz_choose(fuzz_input_t *input, size_t limit);
/* Writes the bytes up to the next FUZZ_NEXT_FILE (or all) as the file PATH: an input may be several files. */
enum { FUZZ_NEXT_FILE = 0x1e };
void fuzz_take_file(fuzz_input_t *input, const char *path);

#endif
