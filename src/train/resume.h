/* Checkpoints of a training run: weights of what is trained, optimiser state, counters; any layout continues
 * them. */
#ifndef TRAIN_RESUME_H
#define TRAIN_RESUME_H

#include "session/models.h"
#include "session/source.h"
#include "train/optimizer.h"

/* A file that a run is made from; another one of the same contents will do for continuing. */
typedef struct {
  const char *name;    /* "base", "dataset", "reward_model", "reference": of attributes */
  const char *setting; /* that names the file, for messages */
  const char *path;    /* the caller's; "" where there is none */
  uint64_t identity;   /* of its contents; 0 where there is none */
} resume_file_t;

enum { RESUME_FILES_MAX = 4 };

/* How a run came to its end. */
typedef enum { RESUME_CONTINUES, RESUME_ALL_STEPS, RESUME_PATIENCE, RESUME_ENDS } resume_end_t;

/* What a run's checkpoint holds besides the model's contents. */
typedef struct {
  optimizer_t *optimizer;
  const char *const *set_names; /* (sets): name below /optimizer/ */
  params_t *const *sets;        /* (sets): as given to the optimizer */
  int32_t set_count;
  int64_t samples;           /* of an epoch: of the data order */
  int64_t batch;             /* samples of a step */
  const char *batch_setting; /* that says so */
  resume_file_t files[RESUME_FILES_MAX];
  int32_t file_count;
  int64_t step; /* finished steps */
  double best;  /* best periodic evaluation so far, and its step; NAN and -1 if none */
  int64_t best_step;
  int64_t waited;       /* evaluations since then */
  bool owes_evaluation; /* of step STEP: the run was stopped in the midst of it */
  resume_end_t ended;
  metrics_t line;           /* of step STEP for metrics.jsonl, without the evaluation that is owed */
  int64_t sample_lines;     /* of samples.jsonl that belong to it; rank 0 */
  checkpoint_place_t place; /* of the newest checkpoint */
} resume_state_t;

/* A checkpoint to continue from. */
typedef struct {
  bool found;
  bool own; /* one of this run directory, otherwise the one that job.restart names */
  char path[FILE_MAX_PATH];
} resume_point_t;

/* Adds a file that the run is made from. PATH NULL: there is none. Local. */
void resume_add_file(resume_state_t *state, const char *name, const char *setting, const char *path,
                     uint64_t identity);
/* Adds model.base, with what MODEL came from, and the dataset of SOURCE. Local. */
void resume_add_inputs(resume_state_t *state, const model_t *model, const source_t *source);

/* A checkpoint that is being written. */
typedef struct {
  checkpoint_writing_t *file; /* NULL: none is */
  checkpoint_place_t place;
} resume_writing_t;

/* Begins to write the checkpoint of state->step; as much of it as CONTENTS' disk.behind allows is still being
 * written afterwards. Collective. Errors, agreed: STATUS_NUMERIC where a trained weight is no number;
 * STATUS_DATA. No file is left then. */
status_t resume_save(session_t *session, const store_contents_t *contents, const resume_state_t *state,
                     resume_writing_t *writing);
/* Ends WRITING: the checkpoint counts, and STATE->place is its. Collective. Errors, agreed: STATUS_DATA. */
status_t resume_save_end(resume_writing_t *writing, resume_state_t *state);

/* Finds what job.restart asks to continue from. A path that it names is where the run began: once this run
 * directory has a checkpoint that comes from there, the newest of those is the one. Sets STATE->place.
 * Collective. */
status_t resume_find(session_t *session, resume_state_t *state, resume_point_t *point);

/* Whether this run can continue from the checkpoint PATH: compares task, seed, batch, the data order,
 * adapters and the contents of STATE's files with what it was made from; warns of settings that differ and
 * change the result. Layout and what else changes no result may differ. Collective. Errors, agreed:
 * STATUS_DATA. */
status_t resume_check(session_t *session, const char *path, const store_contents_t *contents,
                      const resume_state_t *state);

/* Fills optimiser state and what the run counts from the checkpoint PATH, which resume_check found fit; the
 * optimiser's sets' weights are the caller's to load. Collective. */
status_t resume_load(session_t *session, const char *path, resume_state_t *state);

#endif
