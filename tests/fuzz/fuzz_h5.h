/* HDF5 files for fuzz targets. Bytes changed at random would be refused by a checksum, HDF5's or ours, long
 * before the code behind it: an input is a list of changes to a sound file instead, made by way of the
 * library, after which the hashes are made to fit again. (What damaged bytes do is the business of
 * tests/io/test_flips.c.) */
#ifndef TESTS_FUZZ_H5_H
#define TESTS_FUZZ_H5_H

#include "fuzz.h"

#include <stdbool.h>

/* The bytes of a sound file and the names in it. */
typedef struct {
  uint8_t *bytes; /* (n) */
  size_t n;
  const char *const *objects;    /* groups and datasets, ended by NULL */
  const char *const *attributes; /* names that some of them have, ended by NULL */
} fuzz_h5_t;

/* Reads the sound file PATH to FILE. */
void fuzz_h5_load(const char *path, fuzz_h5_t *file);

/* Writes FILE as PATH, changes it as INPUT says, and writes attribute `xxh3` of every object that has one
 * anew (one hash, of at most 16 MiB), if INPUT does not say otherwise. True if the hashes were written. */
bool fuzz_h5_make(const fuzz_h5_t *file, const char *path, fuzz_input_t *input);

/* Attribute NAME (u64) of OBJECT in the file PATH becomes VALUE, if it is one number. */
void fuzz_h5_set(const char *path, const char *object, const char *name, uint64_t value);
/* The attribute `xxh3` of OBJECT in PATH, 0 if there is none. */
uint64_t fuzz_h5_hash(const char *path, const char *object);

#endif
