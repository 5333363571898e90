/* What a task has kept beside its output. */
#ifndef TESTS_CLI_KEPT_COUNT_H
#define TESTS_CLI_KEPT_COUNT_H

#include <stdbool.h>
#include <stdint.h>

/* Samples in the files of PATH.kept; 0 where there is no such folder. */
int64_t kept_count(const char *path);

/* Whether there is such a folder. */
bool kept_is_there(const char *path);

/* Path of the first file in it that is not empty of samples; fails where there is none. */
const char *kept_a_file(const char *path);

#endif
