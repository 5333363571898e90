/* What a run will take, for --dry-run: numbers that a few steps on a blank device have counted, and what
 * follows from them. */
#ifndef RUN_ESTIMATE_H
#define RUN_ESTIMATE_H

#include "base/memory.h"
#include "session/cost.h"
#include "session/link.h"
#include "session/store.h"
#include "tensor/blank.h"

/* What a checkpoint holds. Bytes. */
typedef struct {
  int64_t file;   /* of the whole file */
  int64_t result; /* of model.h5 */
  int64_t given;  /* what this rank gives to it */
  int64_t piece;  /* of the largest piece that goes through memory at once */
  int64_t behind; /* that may wait to be written on this rank while steps are made */
} estimate_files_t;

/* Files that a task without steps leaves. */
enum { ESTIMATE_OUTPUTS_MAX = 12, ESTIMATE_NAME_MAX = 48 };
typedef struct {
  char name[ESTIMATE_NAME_MAX];
  double bytes;
} estimate_output_t;

/* Layouts of which the time is told. */
enum { ESTIMATE_LAYOUTS_MAX = 16 };

/* One rank's counts. */
typedef struct estimate {
  int64_t steps;                  /* that were gone through; 0: a task without steps */
  int64_t total;                  /* steps of the run */
  double part;                    /* of a task without steps, the share that was gone through: 0 .. 1 */
  int64_t data_limit, eval_limit; /* the settings', where what is gone through has fewer samples */
  int32_t output_count;
  estimate_output_t outputs[ESTIMATE_OUTPUTS_MAX];
  estimate_files_t files;
  int ranks, nodes;           /* that read and write files */
  int64_t io, comm;           /* bytes of ARENA_IO and ARENA_COMM that files will take */
  int64_t rollout;            /* bytes of a step's rollout file */
  size_t memory[ARENA_COUNT]; /* bytes, the peaks */
  blank_memory_t gpu;         /* with parallel.gpu_memory: what is on the GPU at one time */
  size_t host;                /* and on the host, at one time */
  size_t together;            /* bytes of all arenas at one time */
  double flops;               /* of this rank in one step, or in the whole task */
  double tokens;
  cost_t costs[ESTIMATE_LAYOUTS_MAX]; /* of one step, or of the whole task: on this run's dp groups, on twice
                                         as many, ... */
  int32_t cost_count;                 /* 0: the machine's peaks are unknown */
  link_t link;                        /* within a node, as the costs take it */
} estimate_t;

/* Adds to the files that the whole task leaves; those above the most are one with the last. Local. */
void estimate_output(estimate_t *estimate, const char *name, double bytes);

/* The same for the file PATH that the part gone through has left; nothing where this rank does not see
 * it. Local. */
void estimate_output_file(estimate_t *estimate, const char *name, const char *path);

/* Notes that of ALL samples of a dataset the first GONE (0: all) were gone through, where the input asks for
 * the first WANTED (0: all). Local. */
void estimate_part(estimate_t *estimate, int64_t all, int64_t wanted, int64_t gone);

/* Notes what reading PARAMS from a file would take now, beside all that there is; or copying whatever takes
 * BYTES of host memory meanwhile; or writing estimate->files. Local. */
void estimate_reading(estimate_t *estimate, const params_t *params);
void estimate_staging(estimate_t *estimate, int64_t bytes);
void estimate_writing(estimate_t *estimate);

/* Sizes of a checkpoint of CONTENTS with the state of an optimiser that trains SETS (count), of which this
 * rank owns OWNED elements. Local. */
estimate_files_t estimate_files(const store_contents_t *contents, params_t *const *sets, int32_t count,
                                int64_t owned);

/* Fills estimate->memory: BEFORE are the peaks before the steps, DURING those of the steps. Local. */
void estimate_memory(const size_t *before, const size_t *during, estimate_t *estimate);

#endif
