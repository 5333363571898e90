/* Runs the program as a user does and looks at its exit status, its messages and its files. Works in a folder
 * of its own, made by cli_enter and removed by cli_leave. */
#ifndef TESTS_CLI_H
#define TESTS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a run ended. Texts are cut at their size. */
typedef struct {
  int status; /* exit status; -1: it was killed, because it took longer than CLI_SECONDS */
  char out[32768];
  char err[32768];
} cli_result_t;

/* No run here may take longer: a run that hangs fails its test. */
enum { CLI_SECONDS = 300, CLI_ARGUMENTS_MAX = 32 };

/* Makes a folder and works in it: cmocka's group set-up and tear-down. */
int cli_enter(void **state);
int cli_leave(void **state);

/* As cli_enter, and makes a small world (world/) and a small model of it (model.h5), or takes those that are
 * kept. */
int cli_enter_world(void **state);
/* Makes them in the test's folder, on the CPU wherever that is. */
void cli_make_world(void);

/* Below the folder that the environment's LLAVA_RLHF_TEST_WORLDS names lies what several tests start from,
 * made by make_worlds.c. Copies its folder NAME to the test's own; false where it is not there. And keeps the
 * test's folder under NAME. */
bool cli_take(const char *name);
void cli_keep(const char *name);

/* From now on runs are of PROGRAM, a path that stays valid; NULL: of the program that is tested. */
void cli_use(const char *program);

/* What a run of stopping.c has written to the file `looks` (STOP_COUNT). */
long cli_looks(void);

/* From now on a run may take so many SECONDS. */
void cli_set_patience(double seconds);

#define CLI_ON_CPU "--set", "parallel.device=cpu"

/* Runs the program on RANKS ranks (0: without mpirun) with ARGUMENTS (ended by NULL). */
void cli_run(int ranks, const char *const *arguments, cli_result_t *result);
#define CLI_RUN(ranks, result, ...) cli_run(ranks, (const char *const[]){__VA_ARGS__, NULL}, result)

/* A run that goes on while the test does something else: started, asked to stop, waited for. */
typedef struct cli_child cli_child_t;
cli_child_t *cli_start(int ranks, const char *const *arguments);
#define CLI_START(ranks, ...) cli_start(ranks, (const char *const[]){__VA_ARGS__, NULL})
void cli_signal(cli_child_t *child, int signal_number);
int cli_process(const cli_child_t *child); /* that which was started: mpirun, or the program */
void cli_wait(cli_child_t *child, cli_result_t *result);
/* The process of rank RANK of a run that mpirun has started; 0 if there is none (yet), or fails then. */
int cli_find_rank(const cli_child_t *child, int rank);
int cli_rank_process(const cli_child_t *child, int rank);
/* Whether it has come to its end. */
bool cli_has_ended(cli_child_t *child);
/* Fails unless process PROCESS ends, if it has not yet; one that mpirun kills may outlive mpirun a little. */
void cli_wait_process(int process);

/* Fails unless the run ended with STATUS; shows what it said. */
void cli_expect(const cli_result_t *result, int status);
/* The same, and that it gave exactly one message of an error, on one rank. */
void cli_expect_one_message(const cli_result_t *result, int status);

/* Writes N bytes of TEXT as file PATH. */
void cli_write(const char *path, const void *text, size_t n);
/* Reads file PATH (at most SIZE - 1 bytes) to TEXT; fails if there is none. Returns the bytes read. */
size_t cli_read(const char *path, char *text, size_t size);
/* Copies the first N bytes (SIZE_MAX: all) of FROM to TO. */
void cli_copy(const char *from, const char *to, size_t n);
bool cli_exists(const char *path);
/* Removes PATH with all that is in it. */
void cli_remove(const char *path);

/* Waits until FILE has LINES lines; false if CHILD ends before. */
bool cli_wait_lines(cli_child_t *child, const char *file, int lines);

#endif
